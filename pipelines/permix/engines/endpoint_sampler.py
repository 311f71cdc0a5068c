"""The endpoint back end: a model behind any OpenAI-compatible server, over HTTP."""

import asyncio
import queue
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permix import sampler
from permix.engines.endpoint.cache import Cache
from permix.engines.endpoint.client import Client, Fault, Refusal, Reply
from permix.engines.endpoint.pace import Pace, Patience
from permix.engines.endpoint.spending import Budget, estimate, most, price
from permix.engines.streaming import pieces
from permix.errors import BadInput, PermixError
from permix.sampler import Completion, Endpoint, Journal, Request

if TYPE_CHECKING:
    from permix.progress import Progress

__all__ = ["EndpointSampler", "estimate"]

WAITING = 1024
"""Completions that may wait for whoever asked for them before nothing more is started: bounds the memory."""
IN_A_ROW = 20
"""Requests that may fail one after another, all their tries included, before the server counts as down."""
Group = list[Completion]


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
            call = _Call(self, [r for r in requests if r.id not in known], Budget(self.endpoint, spent))
            if progress:
                progress(done, len(requests), "completions", book.note if book else "")
            yield from old
            del old
            for group in self._groups(call, book):
                done += len(group)
                if progress:
                    progress(done, len(requests), "completions", call.note())
                yield from group

    def _groups(self, call: "_Call", book: Journal | None) -> Iterator[Group]:
        """Completions as they are finished, kept before they are handed out.

        A thread keeps them: as many as came while the disk was busy with those before are one line of the journal.
        """
        finished: queue.SimpleQueue[tuple[Completion, bool] | None] = queue.SimpleQueue()
        kept: queue.SimpleQueue[Group | BaseException | None] = queue.SimpleQueue()
        keeper = threading.Thread(target=_keep, args=(finished, kept, book, self._cache, call.by_id), daemon=True)
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


@dataclass
class _Call:
    """One call of `sample`: what is still to be asked, what it cost, and why it ends early."""

    sampler: EndpointSampler
    requests: Sequence[Request]
    budget: Budget
    by_id: dict[str, Request] = field(default_factory=dict)
    _failure: BaseException | None = None
    _errors: int = 0
    _in_a_row: int = 0
    _reason: str = ""
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WAITING))

    def __post_init__(self) -> None:
        self.by_id = {r.id: r for r in self.requests}

    async def run(self, finished: "queue.SimpleQueue[tuple[Completion, bool] | None]") -> None:
        """Ask everything, as many at once as the endpoint allows; raise the first failure when the others ended."""
        todo = iter(self.requests)

        async def work() -> None:
            for request in todo:
                await self._room.acquire()
                if self._failure:
                    return
                try:
                    old = self.sampler._cache.get(request)
                    finished.put((old, False) if old else (await self._sampled(request), True))
                except Exception as error:
                    self._failure = self._failure or error

        await asyncio.gather(*(work() for _ in range(min(self.sampler.endpoint.concurrency, len(self.requests)))))
        if self._failure:
            raise self._failure

    def taken(self, count: int) -> None:
        """So many completions found their reader: as many may be started."""
        for _ in range(count):
            self._room.release()

    def note(self) -> str:
        """What a person should know beside the numbers."""
        spent = [f"{self.budget.spent:.4f} USD"] if self.budget.spent else []
        errors = [f"{self._errors} failed, the last with {self._reason}"] if self._errors else []
        return ", ".join([*spent, *errors, *self.sampler._client.dialect.notes])

    async def _sampled(self, request: Request) -> Completion:
        """One request with all its tries."""
        patience = Patience()
        while True:
            try:
                reply = await self._try(request)
            except Fault as fault:
                pause = None if self._failure else patience.pause(fault)
                if pause is None:
                    return self._failed(request, str(fault))
                await asyncio.sleep(pause)
            except Refusal as refusal:
                return self._failed(request, str(refusal), server_is_up=True)
            else:
                self._in_a_row = 0
                return _completion(request, reply)

    async def _try(self, request: Request) -> Reply:
        endpoint, pace = self.sampler.endpoint, self.sampler._pace
        limit = most(endpoint, request)
        await self.budget.hold(limit)
        cost, good, reply = 0.0, False, None
        try:
            started = await pace.start()
            try:
                if self._failure:
                    raise Fault("the end of the run")
                reply = await self.sampler._client.ask(request)
                cost = price(endpoint, reply.tokens_in, reply.tokens_out) if reply.counted else limit
                good = True
            except Fault as fault:
                cost = limit if fault.lost else 0.0
                if fault.busy:
                    pace.too_many(started, fault.wait)
                raise
            finally:
                await pace.end(good=good)
        finally:
            await self.budget.settle(limit, cost)
        return reply

    def _failed(self, request: Request, reason: str, *, server_is_up: bool = False) -> Completion:
        endpoint = self.sampler.endpoint
        self._errors, self._reason = self._errors + 1, reason
        self._in_a_row = 0 if server_is_up else self._in_a_row + 1
        if self._in_a_row >= IN_A_ROW and not self._failure:
            self._failure = PermixError(
                f"{self._in_a_row} requests in a row failed at {endpoint.url}, the last with {reason}: "
                "what is finished is kept, run it again when the server is up."
            )
        return Completion(request.id, "", 0, 0, "error", f"endpoint {endpoint.model}", "")


def _keep(
    finished: "queue.SimpleQueue[tuple[Completion, bool] | None]",
    kept: "queue.SimpleQueue[Group | BaseException | None]",
    book: Journal | None,
    cache: Cache,
    by_id: dict[str, Request],
) -> None:
    """Write what is finished to journal and cache, then pass it on, until there is a None.

    Completions from the cache are not journaled: the journal holds what these requests have paid for.
    """
    try:
        last = False
        while not last:
            arrived = [finished.get()]
            while not finished.empty():
                arrived.append(finished.get())
            last = arrived[-1] is None
            found = [item for item in arrived if item is not None]
            paid = [c for c, is_new in found if is_new and c.finish != "error"]
            if book and paid:
                book.append(paid)
            if paid:
                cache.put((by_id[c.id], c) for c in paid)
            if found:
                kept.put([c for c, _ in found])
        kept.put(None)
    except BaseException as error:  # a full disk: raised where the completions are read
        kept.put(error)


def _completion(request: Request, reply: Reply) -> Completion:
    text = "".join(pieces(iter([reply.text]), request.sampling.stop))  # where the server knows no stop strings
    finish = "stop" if len(text) < len(reply.text) else reply.finish
    return Completion(request.id, text, reply.tokens_in, reply.tokens_out, finish, f"endpoint {reply.model}", "")


def _refuse_adapters(requests: Sequence[Request]) -> None:
    if any(r.adapter for r in requests):
        raise BadInput("An endpoint serves what it serves: name the adapter as its model.")
