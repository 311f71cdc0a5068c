"""The tables of webhooks: which events they receive, the refs announced last, and the deliveries.

A push is detected by comparing a repository's refs with those announced last. The comparison is repeated at the next
start, so a kill between the move of a ref and the entry here does not lose the event.
"""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from embedded_hub.clock import now
from embedded_hub.database.accounts import Accounts, RepoRow, Role
from embedded_hub.database.connection import Database

DOMAINS = ("repo", "discussion")
OWNERS = ("user", "org")
ENDED_LISTED = 100
"""Ended deliveries of one webhook that are still listed."""
BACK_OFF = (1, 2, 5, 15, 60, 300, 900)
"""Seconds from each failed attempt to the next; after the last one the delivery has failed."""

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
    """One webhook: each event is sent to `url`, or starts a Job like `job` (`namespace` and `spec`).

    It receives the events that `owner`, with a token of `role`, may see. `watched` holds (type, name) pairs.
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
        """Return whether the repository or its owner is watched."""
        names = {
            (row.kind.removesuffix("s"), row.full_name.lower()),
            *((owner_type, row.namespace.lower()) for owner_type in OWNERS),
        }
        return any((type_, name.lower()) in names for type_, name in self.watched)


@dataclass(frozen=True)
class Delivery:
    """One event for one webhook; `state` is waiting, delivered or failed; `answer` is that of the last attempt."""

    id: int
    webhook: str
    created: str
    body: str
    attempts: int
    state: str
    answer: str


class Webhooks:
    """The tables of webhooks."""

    def __init__(self, database: Database, accounts: Accounts) -> None:
        self._database, self._accounts = database, accounts
        database.sql.executescript(_SCHEMA)
        self.announcing = threading.Lock()
        """Held while refs are compared with those announced last."""
        self.waiting = threading.Event()
        """Set when there is a new delivery."""

    def all(self, owner: str | None = None) -> list[Webhook]:
        """Return every webhook, or those of one user, the oldest first."""
        condition, values = ("WHERE owner=?", (owner,)) if owner else ("", ())
        query = f"SELECT {_COLUMNS} FROM webhooks {condition} ORDER BY rowid"  # noqa: S608
        return [_webhook(row) for row in self._database.sql.execute(query, values)]

    def find(self, id_: str) -> Webhook | None:
        """Return the webhook of that id."""
        row = self._database.sql.execute(f"SELECT {_COLUMNS} FROM webhooks WHERE id=?", (id_,)).fetchone()  # noqa: S608
        return _webhook(row) if row else None

    def put(self, webhook: Webhook) -> None:
        """Enter or update a webhook."""
        job, watched, domains = json.dumps(webhook.job), json.dumps(webhook.watched), json.dumps(webhook.domains)
        values = (
            webhook.id,
            webhook.owner,
            webhook.role,
            webhook.url,
            job,
            watched,
            domains,
            webhook.secret,
            int(webhook.disabled),
            now(),
        )
        changed = ", ".join(f"{name}=excluded.{name}" for name in _COLUMNS.split(", ")[1:])
        marks = ", ".join("?" * len(values))
        query = f"INSERT INTO webhooks({_COLUMNS}, created) VALUES ({marks}) ON CONFLICT(id) DO UPDATE SET {changed}"  # noqa: S608
        self._database.sql.execute(query, values)

    def remove(self, webhook: Webhook) -> None:
        """Delete a webhook and its deliveries."""
        with self._database.transaction():
            self._database.sql.execute("DELETE FROM webhooks WHERE id=?", (webhook.id,))
            self._database.sql.execute("DELETE FROM deliveries WHERE webhook=?", (webhook.id,))

    def listening(self, row: RepoRow, domain: str) -> list[Webhook]:
        """Return the enabled webhooks that watch a repository and may see it."""
        webhooks = [
            webhook
            for webhook in self.all()
            if not webhook.disabled and domain in webhook.domains and webhook.watches(row)
        ]
        return [webhook for webhook in webhooks if not row.private or self._may_read(webhook, row)]

    def _may_read(self, webhook: Webhook, row: RepoRow) -> bool:
        return self._accounts.account_of(webhook.owner, webhook.role).may_read(row.namespace)

    # Announced refs

    def announced(self, repo: int) -> dict[str, str]:
        """Return ref -> commit at the last comparison."""
        return dict(self._database.sql.execute("SELECT ref, oid FROM announced WHERE repo=?", (repo,)).fetchall())

    def set_announced(self, repo: int, refs: dict[str, str]) -> None:
        """Record the commits of the refs."""
        with self._database.transaction():
            self._database.sql.execute("DELETE FROM announced WHERE repo=?", (repo,))
            rows = [(repo, ref, oid) for ref, oid in refs.items()]
            self._database.sql.executemany("INSERT INTO announced VALUES (?, ?, ?)", rows)

    # Deliveries

    def enqueue(self, webhook: Webhook, body: dict[str, Any]) -> None:
        """Enter an event for a webhook; it is sent after the transaction."""
        text = json.dumps(body | {"webhook": {"id": webhook.id, "version": 3}})
        query = (
            "INSERT INTO deliveries(webhook, created, body, attempts, due, state, answer) VALUES (?, ?, ?, 0, ?, ?, '')"
        )
        self._database.sql.execute(query, (webhook.id, now(), text, time.time(), "waiting"))

    def due(self) -> list[Delivery]:
        """Return the due deliveries, the oldest first."""
        return list(self._deliveries("state='waiting' AND due <= ? ORDER BY id", time.time()))

    def next_due(self) -> float | None:
        """Return when the next waiting delivery is due (seconds since 1970)."""
        due = self._database.sql.execute("SELECT min(due) FROM deliveries WHERE state='waiting'").fetchone()[0]
        return None if due is None else float(due)

    def deliveries(self, webhook: Webhook) -> list[Delivery]:
        """Return past and waiting deliveries, the newest first."""
        return list(self._deliveries("webhook=? ORDER BY id DESC", webhook.id))

    def delivered(self, delivery: Delivery, answer: str) -> None:
        """Record a successful delivery."""
        self._done(delivery, "delivered", answer)

    def refused(self, delivery: Delivery, answer: str) -> None:
        """Record a failed attempt; after the last one the delivery has failed."""
        if delivery.attempts >= len(BACK_OFF):
            self._done(delivery, "failed", answer)
            return
        query = "UPDATE deliveries SET attempts=attempts+1, due=?, answer=? WHERE id=?"
        self._database.sql.execute(query, (time.time() + BACK_OFF[delivery.attempts], answer, delivery.id))

    def _done(self, delivery: Delivery, state: str, answer: str) -> None:
        with self._database.transaction():
            query = "UPDATE deliveries SET attempts=attempts+1, state=?, answer=? WHERE id=?"
            self._database.sql.execute(query, (state, answer, delivery.id))
            old = "SELECT id FROM deliveries WHERE webhook=? AND state != 'waiting' ORDER BY id DESC LIMIT -1 OFFSET ?"
            query = f"DELETE FROM deliveries WHERE id IN ({old})"  # noqa: S608
            self._database.sql.execute(query, (delivery.webhook, ENDED_LISTED))

    def _deliveries(self, condition: str, value: Any) -> Iterator[Delivery]:
        query = f"SELECT id, webhook, created, body, attempts, state, answer FROM deliveries WHERE {condition}"  # noqa: S608
        return (Delivery(*row) for row in self._database.sql.execute(query, (value,)).fetchall())


def _webhook(row: tuple[Any, ...]) -> Webhook:
    id_, owner, role, url, job, watched, domains, secret, disabled = row
    pairs = tuple((type_, name) for type_, name in json.loads(watched))
    return Webhook(id_, owner, role, url, json.loads(job), pairs, tuple(json.loads(domains)), secret, bool(disabled))
