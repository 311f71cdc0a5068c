"""One call of the endpoint back end: every request with its tries, and the keeping of what came back."""

import asyncio
import queue
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from permix.errors import PermixError
from permix.sampling.engines.endpoint.cache import Cache
from permix.sampling.engines.endpoint.client import Client, Fault, Refusal, Reply
from permix.sampling.engines.endpoint.pace import Pace, Patience
from permix.sampling.engines.endpoint.spending import Budget, most, price
from permix.sampling.engines.streaming import pieces
from permix.sampling.sampler import Completion, Endpoint, Journal, Request

WAITING = 1024
"""Completions that may wait for whoever asked for them before nothing more is started: bounds the memory."""
IN_A_ROW = 20
"""Requests that fail one after another, all their tries included, before the server counts as down: of fewer, all of
them; but one request alone may fail for a reason of its own.
"""
Group = list[Completion]
Finished: TypeAlias = "queue.SimpleQueue[tuple[Completion, bool] | None]"
"""Completions, and whether they are new (not from the cache); None at the end."""
Kept: TypeAlias = "queue.SimpleQueue[Group | BaseException | None]"


@dataclass
class Call:
    """One call of `sample`: what is still to be asked, what it cost, and why it ends early."""

    endpoint: Endpoint
    client: Client
    pace: Pace
    cache: Cache
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

    async def run(self, finished: Finished) -> None:
        """Ask everything, as many at once as the endpoint allows; raise the first failure when the others ended."""
        todo = iter(self.requests)

        async def work() -> None:
            for request in todo:
                await self._room.acquire()
                if self._failure:
                    return
                try:
                    old = self.cache.get(request)
                    finished.put((old, False) if old else (await self._sampled(request), True))
                except Exception as error:
                    self._failure = self._failure or error

        await asyncio.gather(*(work() for _ in range(min(self.endpoint.concurrency, len(self.requests)))))
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
        return ", ".join([*spent, *errors, *self.client.dialect.notes])

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
        limit = most(self.endpoint, request)
        await self.budget.hold(limit)
        cost, good, reply = 0.0, False, None
        try:
            started = await self.pace.start()
            try:
                if self._failure:
                    raise Fault("the end of the run")
                reply = await self.client.ask(request)
                cost = price(self.endpoint, reply.tokens_in, reply.tokens_out) if reply.counted else limit
                good = True
            except Fault as fault:
                cost = limit if fault.lost else 0.0
                if fault.busy:
                    self.pace.too_many(started, fault.wait)
                raise
            finally:
                await self.pace.end(good=good)
        finally:
            await self.budget.settle(limit, cost)
        return reply

    def _failed(self, request: Request, reason: str, *, server_is_up: bool = False) -> Completion:
        self._errors, self._reason = self._errors + 1, reason
        self._in_a_row = 0 if server_is_up else self._in_a_row + 1
        if self._in_a_row >= min(IN_A_ROW, max(len(self.requests), 2)) and not self._failure:
            self._failure = PermixError(
                f"{self._in_a_row} requests in a row failed at {self.endpoint.url}, the last with {reason}: "
                "what is finished is kept, run it again when the server is up."
            )
        return Completion(request.id, "", 0, 0, "error", f"endpoint {self.endpoint.model}", "")


def keep(
    finished: Finished,
    kept: Kept,
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
