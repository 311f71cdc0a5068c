"""The parts of a running server, and what it is allowed to do."""

import hmac
import logging
import threading
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from embedded_hub.database.accounts import Accounts
from embedded_hub.database.collections import Collections
from embedded_hub.database.discussions import Discussions
from embedded_hub.database.jobs import Jobs
from embedded_hub.database.spaces import RunningSpaces
from embedded_hub.database.webhooks import Webhooks
from embedded_hub.launch import JOBS_ALLOWED
from embedded_hub.store.buckets import Buckets
from embedded_hub.store.lfs import LfsStore
from embedded_hub.store.repositories import Store
from embedded_hub.store.xet import XetStore

log = logging.getLogger("embedded_hub")


@dataclass(frozen=True)
class Allowed:
    """What a server may do besides keeping repositories: run code, and call others than this machine."""

    root: Path
    jobs: bool = False
    webhook_hosts: frozenset[str] = frozenset()
    """`host` or `host:port`, besides those of this machine."""

    def runs_jobs(self) -> bool:
        """Whether Jobs and Spaces run here: said at the start, or since then by `launch.allow_jobs`."""
        return self.jobs or (self.root / JOBS_ALLOWED).exists()


@dataclass(frozen=True)
class Hub:
    """The parts of a running server."""

    accounts: Accounts
    store: Store
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
    """Where it listens."""
    names: threading.Lock = field(default_factory=threading.Lock)
    """Held while repositories appear, vanish or change their name: rare, and each is over in a few milliseconds."""

    def sign(self, text: str) -> str:
        """A signature that only this data directory can make."""
        return hmac.new(self.secret, text.encode(), sha256).hexdigest()
