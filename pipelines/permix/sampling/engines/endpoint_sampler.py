"""The endpoint back end: a model behind any OpenAI-compatible server, over HTTP."""

import asyncio
import queue
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permix.errors import BadInput, PermixError
from permix.sampling import sampler
from permix.sampling.engines.endpoint.cache import Cache
from permix.sampling.engines.endpoint.call import Call, Finished, Group, Kept, keep
from permix.sampling.engines.endpoint.client import Client, Fault, Refusal
from permix.sampling.engines.endpoint.pace import Pace, Patience
from permix.sampling.engines.endpoint.spending import Budget, price
from permix.sampling.engines.streaming import pieces
from permix.sampling.sampler import Completion, Endpoint, Journal, Request

if TYPE_CHECKING:
    from permix.progress import Progress


class EndpointSampler:
    """Asks the server for many completions at once, from an event loop in a thread of its own.

    A request that fails after all its tries is a completion with finish "error": it is handed out, never journaled or
    cached, so that the next call makes just these anew. A refusal by the model is its answer (finish "stop"); so is a
    text that the provider's content filter cut, for that filter is part of what the endpoint serves.
    """

    dtype = ""  # no server tells

    def __init__(self, endpoint: Endpoint) -> None:
        """Reach the server; BadInput where it does not answer, or its key is missing or refused."""
        if endpoint.concurrency < 1 or not endpoint.timeout > 0:
            raise BadInput("concurrency and timeout of an endpoint should be more than 0.")
        if endpoint.budget and not (endpoint.price_in or endpoint.price_out):
            raise BadInput(f"A budget for {endpoint.model} needs its prices: set price_in and price_out.")
        self.endpoint = endpoint
        self._client = Client(endpoint)
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
        self, requests: Sequence[Request], journal: Path | None = None, progress: "Progress | None" = None
    ) -> Iterator[Completion]:
        """Sample every request once; with `journal`, what an earlier call finished comes first and is not paid again.

        Ends with BadInput or PermixError where no request can succeed (key, model, context, budget, credit, a server
        that is down); what is under way then is still finished and kept.
        """
        _refuse_adapters(requests)
        # How the model is reached is not what it is: a journal goes on at another url.
        header = {"requests": sampler.digest(requests), "engine": "endpoint", "model": self.endpoint.model}
        return self._run(requests, journal, header, progress)

    def stream(self, request: Request) -> Iterator[str]:
        """The pieces of one completion as they come, tried again only before the first; not cached, not journaled."""
        _refuse_adapters([request])
        yield from pieces(self._texts(request), request.sampling.stop)

    def close(self) -> None:
        """Close the connections and end the thread."""
        if self._thread.is_alive():
            self._wait(self._client.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        if hasattr(self, "_cache"):
            self._cache.close()

    def _run(
        self, requests: Sequence[Request], journal: Path | None, header: dict[str, Any], progress: "Progress | None"
    ) -> Iterator[Completion]:
        with Journal(journal, header) if journal else nullcontext() as book:
            old = [c for group in book.done for c in group] if book else []
            known, done = {c.id for c in old}, len(old)
            spent = sum(price(self.endpoint, c.tokens_in, c.tokens_out) for c in old)
            todo = [r for r in requests if r.id not in known]
            call = Call(self.endpoint, self._client, self._pace, self._cache, todo, Budget(self.endpoint, spent))
            if progress:
                progress(done, len(requests), "completions", book.note if book else "")
            yield from old
            del old
            for group in self._groups(call, book):
                done += len(group)
                if progress:
                    progress(done, len(requests), "completions", call.note())
                yield from group

    def _groups(self, call: Call, book: Journal | None) -> Iterator[Group]:
        """Completions as they are finished, kept before they are handed out.

        A thread keeps them: as many as came while the disk was busy with those before are one line of the journal.
        """
        finished: Finished = queue.SimpleQueue()
        kept: Kept = queue.SimpleQueue()
        keeper = threading.Thread(target=keep, args=(finished, kept, book, self._cache, call.by_id), daemon=True)
        keeper.start()
        task = self._start(call.run(finished), finished)
        try:
            while (group := kept.get()) is not None:
                if isinstance(group, BaseException):
                    raise group
                yield group
                self._loop.call_soon_threadsafe(call.taken, len(group))
        finally:
            self._stop(task)
            keeper.join()
        task.result()

    def _texts(self, request: Request) -> Iterator[str]:
        texts: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        task = self._start(self._tell(request, texts), texts)
        try:
            while (text := texts.get()) is not None:
                yield text
        finally:
            self._stop(task)
        task.result()

    async def _tell(self, request: Request, texts: "queue.SimpleQueue[str | None]") -> None:
        patience, begun = Patience(), False
        while True:
            try:
                async for text in self._client.stream(request):
                    begun = begun or bool(text)
                    texts.put(text)
                return
            except Fault as fault:
                pause = None if begun else patience.pause(fault)
                if pause is None:
                    raise PermixError(f"{self.endpoint.model} at {self.endpoint.url} failed: {fault}.") from None
                await asyncio.sleep(pause)
            except Refusal as refusal:
                raise PermixError(f"{self.endpoint.model} refuses the question: {refusal}.") from None

    def _wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _start(self, coroutine: Coroutine[Any, Any, None], out: "queue.SimpleQueue[Any]") -> "asyncio.Task[None]":
        """Run it in the loop; its end is a None in `out`."""

        async def start() -> "asyncio.Task[None]":
            task = asyncio.get_running_loop().create_task(coroutine)
            task.add_done_callback(lambda _: out.put(None))
            return task

        task: asyncio.Task[None] = self._wait(start())
        return task

    def _stop(self, task: "asyncio.Task[None]") -> None:
        """Cancel what is under way, when whoever asked for it does not want the rest, and wait for its end."""

        async def stop() -> None:
            task.cancel()
            await asyncio.wait([task])

        if not task.done():
            self._wait(stop())


def _refuse_adapters(requests: Sequence[Request]) -> None:
    if any(r.adapter for r in requests):
        raise BadInput("An endpoint serves what it serves: name the adapter as its model.")
