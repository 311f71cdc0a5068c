"""One call of the endpoint back end: every request with its tries, and the storing of its completions."""

import asyncio
import queue
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from permix.errors import PermixError
from permix.sampling.engines.endpoint.cache import Cache
from permix.sampling.engines.endpoint.client import Client, Fault, Refusal
from permix.sampling.engines.endpoint.pace import Pace, Patience
from permix.sampling.engines.endpoint.replies import Reply
from permix.sampling.engines.endpoint.spending import Budget, most
from permix.sampling.engines.streaming import pieces
from permix.sampling.journal import Journal
from permix.sampling.sampler import Completion, Endpoint, Request

WAITING = 1024
"""Completions that may wait for their reader before no more requests start: bounds the memory."""
IN_A_ROW = 20
"""Requests that fail in a row, after all their tries, before the server counts as down. A smaller call ends when all of
its requests fail, at least 2: a single one may fail for a reason of its own.
"""
Group = list[Completion]
Finished: TypeAlias = "queue.SimpleQueue[tuple[Completion, bool] | None]"
"""Pairs (completion, whether to store it: new and paid for); None at the end."""
Stored: TypeAlias = "queue.SimpleQueue[Group | BaseException | None]"


@dataclass
class Call:
    """One call of `sample`: its open requests, its cost, and the reason of an early end."""

    endpoint: Endpoint
    client: Client
    pace: Pace
    cache: Cache
    requests: Sequence[Request]
    budget: Budget
    by_id: dict[str, Request] = field(default_factory=dict)
    _failure: BaseException | None = None
    _counts: Counter[str] = field(default_factory=Counter)
    _in_a_row: int = 0
    _reasons: dict[str, str] = field(default_factory=dict)
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WAITING))

    def __post_init__(self) -> None:
        self.by_id = {r.id: r for r in self.requests}

    async def run(self, finished: Finished) -> None:
        """Send all requests, as many at once as the endpoint allows; raise the first failure when the others ended."""
        waiting = iter(self.requests)

        async def work() -> None:
            for request in waiting:
                await self._room.acquire()
                if self._failure:
                    return
                try:
                    old = self.cache.get(request)
                    new = old or await self._sampled(request)
                    finished.put((new, not old and new.finish in ("stop", "length")))
                except Exception as error:
                    self._failure = self._failure or error

        await asyncio.gather(*(work() for _ in range(min(self.endpoint.concurrency, len(self.requests)))))
        if self._failure:
            raise self._failure

    def taken(self, count: int) -> None:
        """Allow `count` more requests to start: as many completions were read."""
        for _ in range(count):
            self._room.release()

    def note(self) -> str:
        """Return the cost, the failures and the dialect's notes, for the progress line."""
        spent = [f"{self.budget.spent:.4f} USD"] if self.budget.spent else []
        counts = [f"{count} {word}, the last with {self._reasons[word]}" for word, count in self._counts.items()]
        return ", ".join([*spent, *counts, *self.client.dialect.notes])

    async def _sampled(self, request: Request) -> Completion:
        """Return the completion of one request after all its tries."""
        patience, filtered = Patience(), True
        while True:
            try:
                reply = await self._try(request)
            except Fault as fault:
                filtered = filtered and (fault.filtered or fault.learned)
                pause = None if self._failure else patience.pause(fault)
                if pause is None:
                    return self._refused(request, str(fault)) if filtered else self._failed(request, str(fault))
                await asyncio.sleep(pause)
            except Refusal as refusal:
                return self._refused(request, str(refusal))
            else:
                self._in_a_row = 0
                return (
                    _completion(request, reply)
                    if reply.finish != "refusal"
                    else self._refused(request, reply.reason, reply)
                )

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
                cost = self.endpoint.price(reply.tokens_in, reply.tokens_out) if reply.counted else limit
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

    def _refused(self, request: Request, reason: str, reply: Reply | None = None) -> Completion:
        """Return the refusal as a completion. It is not stored, because a later call may find another filter."""
        self._in_a_row = 0
        return self._without_text(request, "refusal", "refused", reason, reply)

    def _failed(self, request: Request, reason: str) -> Completion:
        self._in_a_row += 1
        if self._in_a_row >= min(IN_A_ROW, max(len(self.requests), 2)) and not self._failure:
            self._failure = PermixError(
                f"{self._in_a_row} requests in a row failed at {self.endpoint.url}, the last with {reason}: "
                "finished completions are stored; run again when the server is up."
            )
        return self._without_text(request, "error", "failed", reason, None)

    def _without_text(
        self, request: Request, finish: Literal["refusal", "error"], word: str, reason: str, reply: Reply | None
    ) -> Completion:
        self._counts[word] += 1
        self._reasons[word] = reason
        tokens = (reply.tokens_in, reply.tokens_out) if reply else (0, 0)
        return Completion(request.id, "", *tokens, finish, f"endpoint {self.endpoint.model}", "", reason)


def store(finished: Finished, stored: Stored, journal: Journal, cache: Cache, by_id: dict[str, Request]) -> None:
    """Write finished completions to journal and cache, then pass them on, until there is a None.

    Completions from the cache are not journaled: the journal counts what these requests have paid for. Nor are failures
    and refusals: the next call repeats these requests.
    """
    try:
        last = False
        while not last:
            arrived = [finished.get()]
            while not finished.empty():
                arrived.append(finished.get())
            last = arrived[-1] is None
            pairs = [pair for pair in arrived if pair is not None]
            if paid := [completion for completion, is_paid in pairs if is_paid]:
                journal.append(paid)
                cache.put((by_id[c.id], c) for c in paid)
            if pairs:
                stored.put([c for c, _ in pairs])
        stored.put(None)
    except BaseException as error:  # a full disk: raised where the completions are read
        stored.put(error)


def _completion(request: Request, reply: Reply) -> Completion:
    # A server may ignore stop strings.
    text = "".join(pieces([(reply.text, reply.finish)], request.sampling.stop))
    finish = "stop" if len(text) < len(reply.text) else reply.finish
    return Completion(request.id, text, reply.tokens_in, reply.tokens_out, finish, f"endpoint {reply.model}", "")
