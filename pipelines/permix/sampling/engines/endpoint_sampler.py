"""The endpoint back end: a model behind any OpenAI-compatible server, over HTTP."""

import asyncio
import queue
import threading
from collections.abc import Coroutine, Generator, Iterable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from permix.errors import BadInput, PermixError
from permix.progress import Progress
from permix.prompting.prompts import Messages
from permix.sampling import sampler
from permix.sampling.engines.endpoint.cache import Cache
from permix.sampling.engines.endpoint.call import Call, Finished, Group, Stored, store
from permix.sampling.engines.endpoint.client import Client, Fault, Refusal
from permix.sampling.engines.endpoint.pace import Pace, Patience
from permix.sampling.engines.endpoint.spending import Budget
from permix.sampling.engines.streaming import pieces
from permix.sampling.journal import Journal, resume
from permix.sampling.sampler import Adapter, Completion, Endpoint, Request


class EndpointSampler:
    """Requests many completions at once, from an event loop in a thread of its own.

    A request that fails after all its tries is a completion with finish "error", a prompt that the server's filter
    refuses one with finish "refusal". Neither is journaled or cached, so that the next call repeats it. A refusal by
    the model is an answer (finish "stop"); so is a text that the provider's content filter cuts, because that filter
    is part of the endpoint.
    """

    dtype = ""  # servers do not report it

    def __init__(self, endpoint: Endpoint) -> None:
        """Reach the server; BadInput where it does not answer, or where its key is missing or refused."""
        if endpoint.concurrency < 1 or not endpoint.timeout > 0:
            raise BadInput("concurrency and timeout of an endpoint should be more than 0.")
        if endpoint.budget and not (endpoint.price_in or endpoint.price_out):
            raise BadInput(f"A budget for {endpoint.model} needs its prices: set price_in and price_out.")
        self.endpoint = endpoint
        self._client = Client(endpoint)
        self.notes = self._client.dialect.notes
        self._pace = Pace(endpoint.concurrency)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            self._wait(self._client.open())
        except BaseException:
            self.close()
            raise
        self._cache = Cache(endpoint)

    def sample(
        self, requests: Sequence[Request], journal: Path | None = None, progress: Progress | None = None
    ) -> Iterator[Completion]:
        """Sample every request once; completions in the journal come first and are not paid again.

        BadInput or PermixError where no request can succeed (key, model, context, budget, credit, a server that is
        down); the requests in flight are then still finished and stored.
        """
        _refuse_adapters(requests)
        # Without the url: a journal resumes at another server of the same model.
        header = {"requests": sampler.digest(requests), "engine": "endpoint", "model": self.endpoint.model}
        calls: list[Call] = []

        def rest(book: Journal) -> Iterator[Group]:
            known = {completion.id for completion in book.done}
            spent = sum(self.endpoint.price(c.tokens_in, c.tokens_out) for c in book.done)
            open_requests = [request for request in requests if request.id not in known]
            budget = Budget(self.endpoint, spent)
            calls.append(Call(self.endpoint, self._client, self._pace, self._cache, open_requests, budget))
            yield from self._groups(calls[0], book)

        return resume(journal, header, len(requests), rest, progress, lambda: calls[0].note())

    def stream(self, request: Request) -> Generator[str, None, str]:
        """Yield one completion in pieces and return its finish, not cached or journaled; retry the first piece only."""
        _refuse_adapters([request])
        return (yield from pieces(self._texts(request), request.sampling.stop))

    def check(self, chats: Iterable[Messages]) -> None:
        """Nothing: the server's chat template is unknown."""

    def facts(self, chat: Messages, adapter: Adapter | None) -> dict[str, Any]:
        """Return the parameters that the server refused; its chat template is unknown."""
        return {"dialect": list(self.notes)} if self.notes else {}

    def close(self) -> None:
        """Close the connections and end the thread."""
        if self._thread.is_alive():
            self._wait(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        if hasattr(self, "_cache"):
            self._cache.close()

    def _groups(self, call: Call, journal: Journal) -> Iterator[Group]:
        """Yield completions as they finish, stored first.

        A thread stores them: all that arrive while the disk is busy make one line of the journal.
        """
        finished: Finished = queue.SimpleQueue()
        stored: Stored = queue.SimpleQueue()
        arguments = (finished, stored, journal, self._cache, call.by_id)
        writer = threading.Thread(target=store, args=arguments, daemon=True)
        writer.start()
        task = self._start(call.run(finished), finished)
        try:
            while (group := stored.get()) is not None:
                if isinstance(group, BaseException):
                    raise group
                yield group
                self._loop.call_soon_threadsafe(call.taken, len(group))
        finally:
            self._stop(task)
            writer.join()
        task.result()

    def _texts(self, request: Request) -> Iterator[tuple[str, str]]:
        texts: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        task = self._start(self._send_texts(request, texts), texts)
        try:
            while (growing := texts.get()) is not None:
                yield growing
        finally:
            self._stop(task)
        task.result()

    async def _send_texts(self, request: Request, texts: "queue.SimpleQueue[tuple[str, str] | None]") -> None:
        patience, begun = Patience(), False
        while True:
            try:
                async with aclosing(self._client.stream(request)) as stream:
                    async for text, finish in stream:
                        begun = begun or bool(text)
                        texts.put((text, finish))
                return
            except Fault as fault:
                pause = None if begun else patience.pause(fault)
                if pause is None:
                    raise PermixError(f"{self.endpoint.model} at {self.endpoint.url} failed: {fault}.") from None
                await asyncio.sleep(pause)
            except Refusal as refusal:
                raise PermixError(f"{self.endpoint.model} refuses the question: {refusal}.") from None

    async def _end(self) -> None:
        """Close the connections, and wait for generators and tasks that would not outlive the loop quietly."""
        await self._client.close()
        await self._loop.shutdown_asyncgens()
        if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks)

    def _wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _start(self, coroutine: Coroutine[Any, Any, None], out: "queue.SimpleQueue[Any]") -> "asyncio.Task[None]":
        """Run the coroutine in the loop; a None in `out` marks its end."""

        async def start() -> "asyncio.Task[None]":
            task = asyncio.get_running_loop().create_task(coroutine)
            task.add_done_callback(lambda _: out.put(None))
            return task

        task: asyncio.Task[None] = self._wait(start())
        return task

    def _stop(self, task: "asyncio.Task[None]") -> None:
        """Cancel the task where the reader stopped early, and wait for its end."""

        async def stop() -> None:
            task.cancel()
            await asyncio.wait([task])

        if not task.done():
            self._wait(stop())


def _refuse_adapters(requests: Sequence[Request]) -> None:
    if any(r.adapter for r in requests):
        raise BadInput("An endpoint cannot load an adapter: give the adapter's served name as the model (--model).")
