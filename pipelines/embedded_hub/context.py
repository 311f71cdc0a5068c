"""The parts of a running server and its permissions."""

import hmac
import logging
import threading
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

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


@dataclass(frozen=True)
class ServerContext:
    """The parts of a running server."""

    database: Database
    accounts: Accounts
    repositories: RepositoryStore
    lfs: LfsStore
    xet: XetStore
    discussions: Discussions
    collections: Collections
    webhooks: Webhooks
    jobs: Jobs
    spaces: RunningSpaces
    buckets: Buckets
    allowed: Allowed
    secret: bytes
    instance: str
    url: str
    """The address on which it listens."""
    names: threading.Lock = field(default_factory=threading.Lock)
    """Held for a few milliseconds while a repository is created, deleted or renamed."""

    def sign(self, text: str) -> str:
        """Return a signature of `text` that only this data directory can make."""
        return hmac.new(self.secret, text.encode(), sha256).hexdigest()
