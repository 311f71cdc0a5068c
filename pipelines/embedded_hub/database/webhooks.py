"""Webhooks as the database knows them: who wants to hear of what, what was announced, and what is still to be sent.

A push is announced by comparing a repository's refs with those announced last, so that a kill between the move of a ref
and the entry here loses nothing: the comparison is made again at the next start.
"""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from embedded_hub.clock import now
from embedded_hub.database.accounts import Accounts, RepoRow, Role

DOMAINS = ("repo", "discussion")
OWNERS = ("user", "org")
KEPT = 100
"""Deliveries of one webhook that are over and still listed."""
BACK_OFF = (1, 2, 5, 15, 60, 300, 900)
"""Seconds from each failed attempt to the next; after the last the delivery has failed."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS webhooks(id TEXT PRIMARY KEY, owner TEXT NOT NULL COLLATE NOCASE, role TEXT NOT NULL,
    url TEXT, job TEXT, watched TEXT NOT NULL, domains TEXT NOT NULL, secret TEXT, disabled INTEGER NOT NULL,
    created TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries(id INTEGER PRIMARY KEY AUTOINCREMENT, webhook TEXT NOT NULL,
    created TEXT NOT NULL, body TEXT NOT NULL, attempts INTEGER NOT NULL, due REAL NOT NULL, state TEXT NOT NULL,
    answer TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries(state, due);
CREATE INDEX IF NOT EXISTS deliveries_of ON deliveries(webhook, id);
CREATE TABLE IF NOT EXISTS announced(repo INTEGER NOT NULL, ref TEXT NOT NULL, oid TEXT NOT NULL,
    PRIMARY KEY(repo, ref)) WITHOUT ROWID;
"""
_COLUMNS = "id, owner, role, url, job, watched, domains, secret, disabled"


@dataclass(frozen=True)
class Webhook:
    """One webhook: either `url` is sent the events or a Job like `job` (`namespace` and `spec`) is started for each.

    It hears of what `owner`, with a token of `role`, may see. `watched` holds (type, name) pairs.
    """

    id: str
    owner: str
    role: Role
    url: str | None
    job: dict[str, Any] | None
    watched: tuple[tuple[str, str], ...]
    domains: tuple[str, ...]
    secret: str | None
    disabled: bool

    def watches(self, row: RepoRow) -> bool:
        """Whether the repository is one of those watched, by its own name or its owner's."""
        names = {(row.kind.removesuffix("s"), row.full_name.lower()), *((one, row.namespace.lower()) for one in OWNERS)}
        return any((type_, name.lower()) in names for type_, name in self.watched)


@dataclass(frozen=True)
class Delivery:
    """One event on its way to one webhook; `state` is waiting, delivered or failed; `answer` the last attempt's."""

    id: int
    webhook: str
    created: str
    body: str
    attempts: int
    state: str
    answer: str


class Webhooks:
    """The tables of webhooks."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._accounts.sql.executescript(_SCHEMA)
        self.announcing = threading.Lock()
        """Held while refs are compared with those announced last."""
        self.waiting = threading.Event()
        """Set when there is something new to deliver."""

    def all(self, owner: str | None = None) -> list[Webhook]:
        """Every webhook, or those of one user; the oldest first."""
        where, values = ("WHERE owner=?", (owner,)) if owner else ("", ())
        query = f"SELECT {_COLUMNS} FROM webhooks {where} ORDER BY rowid"  # noqa: S608
        return [_webhook(row) for row in self._accounts.sql.execute(query, values)]

    def find(self, id_: str) -> Webhook | None:
        """The webhook of that id."""
        row = self._accounts.sql.execute(f"SELECT {_COLUMNS} FROM webhooks WHERE id=?", (id_,)).fetchone()  # noqa: S608
        return _webhook(row) if row else None

    def put(self, one: Webhook) -> None:
        """Enter a webhook, or what has changed about it."""
        job, watched, domains = json.dumps(one.job), json.dumps(one.watched), json.dumps(one.domains)
        values = (one.id, one.owner, one.role, one.url, job, watched, domains, one.secret, int(one.disabled), now())
        changed = ", ".join(f"{name}=excluded.{name}" for name in _COLUMNS.split(", ")[1:])
        marks = ", ".join("?" * len(values))
        query = f"INSERT INTO webhooks({_COLUMNS}, created) VALUES ({marks}) ON CONFLICT(id) DO UPDATE SET {changed}"  # noqa: S608
        self._accounts.sql.execute(query, values)

    def remove(self, one: Webhook) -> None:
        """Delete a webhook and what it was still to be told."""
        with self._accounts.transaction():
            self._accounts.sql.execute("DELETE FROM webhooks WHERE id=?", (one.id,))
            self._accounts.sql.execute("DELETE FROM deliveries WHERE webhook=?", (one.id,))

    def listening(self, row: RepoRow, domain: str) -> list[Webhook]:
        """The webhooks that want to know, and may know, what happens to a repository."""
        found = [one for one in self.all() if not one.disabled and domain in one.domains and one.watches(row)]
        return [one for one in found if not row.private or self._may_read(one, row)]

    def _may_read(self, one: Webhook, row: RepoRow) -> bool:
        return self._accounts.account_of(one.owner, one.role).may_read(row.namespace)

    # What was announced of refs

    def announced(self, repo: int) -> dict[str, str]:
        """Ref -> commit as it was when the repository was last compared."""
        return dict(self._accounts.sql.execute("SELECT ref, oid FROM announced WHERE repo=?", (repo,)).fetchall())

    def set_announced(self, repo: int, refs: dict[str, str]) -> None:
        """Note where the refs are."""
        with self._accounts.transaction():
            self._accounts.sql.execute("DELETE FROM announced WHERE repo=?", (repo,))
            rows = [(repo, ref, oid) for ref, oid in refs.items()]
            self._accounts.sql.executemany("INSERT INTO announced VALUES (?, ?, ?)", rows)

    # The outbox

    def enqueue(self, one: Webhook, body: dict[str, Any]) -> None:
        """Enter an event for a webhook; it is sent as soon as the transaction is through."""
        text = json.dumps(body | {"webhook": {"id": one.id, "version": 3}})
        query = (
            "INSERT INTO deliveries(webhook, created, body, attempts, due, state, answer) VALUES (?, ?, ?, 0, ?, ?, '')"
        )
        self._accounts.sql.execute(query, (one.id, now(), text, time.time(), "waiting"))

    def due(self) -> list[Delivery]:
        """What should be sent now, the oldest first."""
        return list(self._deliveries("state='waiting' AND due <= ? ORDER BY id", time.time()))

    def next_due(self) -> float | None:
        """When the next waiting delivery is due (seconds since 1970)."""
        found = self._accounts.sql.execute("SELECT min(due) FROM deliveries WHERE state='waiting'").fetchone()[0]
        return None if found is None else float(found)

    def deliveries(self, one: Webhook) -> list[Delivery]:
        """What was sent and what waits, the newest first."""
        return list(self._deliveries("webhook=? ORDER BY id DESC", one.id))

    def delivered(self, one: Delivery, answer: str) -> None:
        """Note that it arrived."""
        self._done(one, "delivered", answer)

    def refused(self, one: Delivery, answer: str) -> None:
        """Note that an attempt was in vain: there is another one later, or none any more."""
        if one.attempts >= len(BACK_OFF):
            self._done(one, "failed", answer)
            return
        query = "UPDATE deliveries SET attempts=attempts+1, due=?, answer=? WHERE id=?"
        self._accounts.sql.execute(query, (time.time() + BACK_OFF[one.attempts], answer, one.id))

    def _done(self, one: Delivery, state: str, answer: str) -> None:
        with self._accounts.transaction():
            query = "UPDATE deliveries SET attempts=attempts+1, state=?, answer=? WHERE id=?"
            self._accounts.sql.execute(query, (state, answer, one.id))
            over = "SELECT id FROM deliveries WHERE webhook=? AND state != 'waiting' ORDER BY id DESC LIMIT -1 OFFSET ?"
            self._accounts.sql.execute(f"DELETE FROM deliveries WHERE id IN ({over})", (one.webhook, KEPT))  # noqa: S608

    def _deliveries(self, where: str, value: Any) -> Iterator[Delivery]:
        query = f"SELECT id, webhook, created, body, attempts, state, answer FROM deliveries WHERE {where}"  # noqa: S608
        return (Delivery(*row) for row in self._accounts.sql.execute(query, (value,)).fetchall())


def _webhook(row: tuple[Any, ...]) -> Webhook:
    id_, owner, role, url, job, watched, domains, secret, disabled = row
    pairs = tuple((type_, name) for type_, name in json.loads(watched))
    return Webhook(id_, owner, role, url, json.loads(job), pairs, tuple(json.loads(domains)), secret, bool(disabled))
