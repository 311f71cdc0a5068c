"""The parts of a running server and its permissions."""

import hmac
import logging
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Thread

from embedded_hub.database.accounts import Accounts
from embedded_hub.database.collections import Collections
from embedded_hub.database.connection import Database
from embedded_hub.database.discussions import Discussions
from embedded_hub.database.jobs import Jobs
from embedded_hub.database.spaces import RunningSpaces
from embedded_hub.database.webhooks import Webhooks
from embedded_hub.launch import JOBS_ALLOWED
from embedded_hub.store.buckets import Buckets
from embedded_hub.store.lfs import LfsStore
from embedded_hub.store.repositories import RepositoryStore
from embedded_hub.store.xet import XetStore

log = logging.getLogger("embedded_hub")


@dataclass(frozen=True)
class Allowed:
    """Permissions of a server besides storing repositories: running code, and calling other machines."""

    root: Path
    jobs: bool = False
    webhook_hosts: frozenset[str] = frozenset()
    """`host` or `host:port`; this machine is always allowed."""

    def runs_jobs(self) -> bool:
        """Return whether Jobs and Spaces run here, by the option `--jobs` or by `launch.allow_jobs`."""
        return self.jobs or (self.root / JOBS_ALLOWED).exists()


class ServerContext:
    """The parts of a running server. One process at a time may open a data directory."""

    def __init__(self, root: Path, instance: str = "", url: str = "", allowed: Allowed | None = None) -> None:
        """Open the data directory `root` and finish interrupted moves; `url` is the server's own address."""
        self.instance, self.url, self.allowed = instance, url, allowed or Allowed(root)
        self.database = Database(root / "hub.db")
        self.accounts = Accounts(self.database)
        self.repositories = RepositoryStore(root / "repos")
        self.lfs = LfsStore(root / "lfs")
        self.xet = XetStore(root / "xorbs")
        self.buckets = Buckets(root / "buckets")
        self.discussions = Discussions(self.database)
        self.collections = Collections(self.database)
        self.webhooks = Webhooks(self.database, self.accounts)
        self.jobs = Jobs(self.database, root / "jobs")
        self.spaces = RunningSpaces(self.database, root / "spaces")
        self.names = threading.Lock()
        """Held for a few milliseconds while a repository is created, deleted or renamed."""
        self._secret = bytes.fromhex(self.database.setting("signing secret"))
        for row, target in self.accounts.moves():
            old, new = (self.repositories.path(row.kind, name).is_dir() for name in (row.full_name, target))
            self.accounts.end_move(row, target if new and not old else None)

    def sign(self, text: str) -> str:
        """Return a signature of `text` that only this data directory can make."""
        return hmac.new(self._secret, text.encode(), sha256).hexdigest()

    def signed(self, text: str, signature: str) -> bool:
        """Return whether `sign` has made this signature of `text`."""
        return hmac.compare_digest(self.sign(text).encode(), signature.encode())


class Worker(Thread, ABC):
    """A thread that repeats `step` until `stop`. `wake` ends the pause after a step early."""

    def __init__(self, name: str, context: ServerContext, wake: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self._context, self._wake, self._stopping = context, wake, False

    @abstractmethod
    def step(self) -> float:
        """Do what is due; return the seconds until the next step."""

    def run(self) -> None:
        """Repeat the step; after a failure, repeat it in a second."""
        while not self._stopping:
            self._wake.clear()
            try:
                pause = self.step()
            except Exception:
                log.exception("the worker %s failed", self.name)
                pause = 1.0
            self._wake.wait(pause)

    def stop(self) -> None:
        """End this thread after its step."""
        self._stopping = True
        self._wake.set()
