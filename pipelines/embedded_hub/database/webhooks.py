"""The tables of webhooks: which events they receive, the refs announced last, and the deliveries.

A push is detected by comparing a repository's refs with those announced last. The comparison is repeated at the next
start, so a kill between the move of a ref and the entry here does not lose the event.
"""

import json
import threading
import time
from dataclasses import dataclass, fields
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
        owners = {(owner_type, row.namespace.lower()) for owner_type in OWNERS}
        names = {(row.kind.removesuffix("s"), row.full_name.lower())} | owners
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
        self.announcing = threading.Lock()
        """Held while refs are compared with those announced last."""
        self.waiting = threading.Event()
        """Set when there is a new delivery."""

    def all(self, owner: str | None = None) -> list[Webhook]:
        """Return every webhook, or those of one user, the oldest first."""
        return self._database.select(Webhook, "webhooks", "owner=coalesce(?, owner) ORDER BY rowid", owner)

    def find(self, id_: str) -> Webhook | None:
        """Return the webhook of that id."""
        return self._database.find(Webhook, "webhooks", "id=?", id_)

    def put(self, webhook: Webhook) -> None:
        """Enter or update a webhook."""
        changed = ", ".join(f"{field.name}=excluded.{field.name}" for field in fields(Webhook))
        self._database.insert("webhooks", webhook, f"ON CONFLICT(id) DO UPDATE SET {changed}", created=now())

    def remove(self, webhook: Webhook) -> None:
        """Delete a webhook and its deliveries."""
        with self._database.transaction():
            self._database.delete("webhooks", "id", webhook.id)
            self._database.delete("deliveries", "webhook", webhook.id)

    def listening(self, row: RepoRow, domain: str) -> list[Webhook]:
        """Return the enabled webhooks that watch a repository and may see it."""
        enabled = [webhook for webhook in self.all() if not webhook.disabled and domain in webhook.domains]
        watching = [webhook for webhook in enabled if webhook.watches(row)]
        return [webhook for webhook in watching if not row.private or self._may_read(webhook, row)]

    def _may_read(self, webhook: Webhook, row: RepoRow) -> bool:
        return self._accounts.account_of(webhook.owner, webhook.role).may_read(row.namespace)

    # Announced refs

    def announced(self, repo: int) -> dict[str, str]:
        """Return ref -> commit at the last comparison."""
        return dict(self._database.run("SELECT ref, oid FROM announced WHERE repo=?", repo).fetchall())

    def set_announced(self, repo: int, refs: dict[str, str]) -> None:
        """Record the commits of the refs."""
        with self._database.transaction():
            self._database.delete("announced", "repo", repo)
            rows = [(repo, ref, oid) for ref, oid in refs.items()]
            self._database.sql.executemany("INSERT INTO announced VALUES (?, ?, ?)", rows)

    # Deliveries

    def enqueue(self, webhook: Webhook, body: dict[str, Any]) -> None:
        """Enter an event for a webhook; it is sent after the transaction."""
        text = json.dumps(body | {"webhook": {"id": webhook.id, "version": 3}})
        columns = "webhook, created, body, attempts, due, state, answer"
        query = f"INSERT INTO deliveries({columns}) VALUES (?, ?, ?, 0, ?, 'waiting', '')"  # noqa: S608
        self._database.run(query, webhook.id, now(), text, time.time())

    def due(self) -> list[Delivery]:
        """Return the due deliveries, the oldest first."""
        return self._database.select(Delivery, "deliveries", "state='waiting' AND due <= ? ORDER BY id", time.time())

    def next_due(self) -> float | None:
        """Return when the next waiting delivery is due (seconds since 1970)."""
        due: float | None = self._database.first("SELECT min(due) FROM deliveries WHERE state='waiting'")
        return due

    def deliveries(self, webhook: Webhook) -> list[Delivery]:
        """Return past and waiting deliveries, the newest first."""
        return self._database.select(Delivery, "deliveries", "webhook=? ORDER BY id DESC", webhook.id)

    def delivered(self, delivery: Delivery, answer: str) -> None:
        """Record a successful delivery."""
        self._done(delivery, "delivered", answer)

    def refused(self, delivery: Delivery, answer: str) -> None:
        """Record a failed attempt; after the last one the delivery has failed."""
        if delivery.attempts >= len(BACK_OFF):
            self._done(delivery, "failed", answer)
            return
        query = "UPDATE deliveries SET attempts=attempts+1, due=?, answer=? WHERE id=?"
        self._database.run(query, time.time() + BACK_OFF[delivery.attempts], answer, delivery.id)

    def _done(self, delivery: Delivery, state: str, answer: str) -> None:
        with self._database.transaction():
            query = "UPDATE deliveries SET attempts=attempts+1, state=?, answer=? WHERE id=?"
            self._database.run(query, state, answer, delivery.id)
            old = "SELECT id FROM deliveries WHERE webhook=? AND state != 'waiting' ORDER BY id DESC LIMIT -1 OFFSET ?"
            self._database.run(f"DELETE FROM deliveries WHERE id IN ({old})", delivery.webhook, ENDED_LISTED)  # noqa: S608
