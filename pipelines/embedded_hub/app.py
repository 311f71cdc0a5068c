"""The ASGI application: every route behind one guard, and the opening of a data directory."""

import errno
import sqlite3
from email.utils import formatdate
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Router
from starlette.types import Message, Receive, Scope, Send

from embedded_hub.api import (
    account,
    buckets,
    collections,
    commits,
    content,
    discussions,
    git,
    info,
    jobs,
    lfs,
    refs,
    repositories,
    spaces,
    webhooks,
    xet,
)  # fmt: skip
from embedded_hub.context import Allowed, ServerContext, log
from embedded_hub.database.accounts import Accounts
from embedded_hub.database.collections import Collections
from embedded_hub.database.connection import Database
from embedded_hub.database.discussions import Discussions
from embedded_hub.database.jobs import Jobs
from embedded_hub.database.spaces import RunningSpaces
from embedded_hub.database.webhooks import Webhooks
from embedded_hub.errors import HubError
from embedded_hub.store.buckets import Buckets
from embedded_hub.store.lfs import LfsStore
from embedded_hub.store.repositories import RepositoryStore
from embedded_hub.store.xet import XetStore
from embedded_hub.web import pages

ROUTE_MODULES = (
    account, content, info, repositories, refs, commits, discussions, collections, lfs, xet, webhooks, jobs, spaces,
    buckets, git, pages,
)  # fmt: skip
HOSTS = {"127.0.0.1", "localhost", "[::1]"}


def open_context(root: Path, instance: str = "", url: str = "", allowed: Allowed | None = None) -> ServerContext:
    """Open the data directory `root` and finish interrupted moves of repositories. One process at a time may do this.

    `url` is the address on which the server will listen. By default it may neither run code nor call other machines.
    """
    database = Database(root / "hub.db")
    accounts, repositories = Accounts(database), RepositoryStore(root / "repos")
    for row, target in accounts.moves():
        moved = repositories.path(row.kind, target).is_dir() and not repositories.path(row.kind, row.full_name).is_dir()
        accounts.end_move(row, target if moved else None)
    return ServerContext(
        database, accounts, repositories, LfsStore(root / "lfs"), XetStore(root / "xorbs"), Discussions(database),
        Collections(database), Webhooks(database, accounts), Jobs(database, root / "jobs"),
        RunningSpaces(database, root / "spaces"), Buckets(root / "buckets"), allowed or Allowed(root),
        bytes.fromhex(database.setting("signing secret")), instance, url,
    )  # fmt: skip


class App:
    """Refuse foreign hosts, route on the raw path, and turn every failure into JSON.

    An exception that reached uvicorn would close the connection under the client's next request.
    """

    def __init__(self, context: ServerContext) -> None:
        self.context = context
        routes = [route for module in ROUTE_MODULES for route in module.ROUTES]
        self._router = Router(routes, redirect_slashes=False, default=_unknown)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started = False

        async def send_dated(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                # uvicorn's own date may be two seconds old, and clients compare it with the times in logs
                message["headers"].append((b"date", formatdate(usegmt=True).encode()))
            await send(message)

        response: Response
        try:
            _check_host(scope)
            path = scope["raw_path"].decode("ascii")
            await self._router({**scope, "path": path, "context": self.context, "app": self}, receive, send_dated)
            return
        except HubError as refusal:
            response = refusal.response()
        except HTTPException as refusal:
            response = JSONResponse({"error": refusal.detail}, refusal.status_code, refusal.headers)
        except ClientDisconnect:
            return
        except Exception as error:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if started:
                raise
            response = _failure(error)
        await response(scope, receive, send_dated)


def _failure(error: Exception) -> Response:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if full or (isinstance(error, sqlite3.OperationalError) and "full" in str(error)):
        return HubError(507, "The disk that holds the embedded Hub is full: make room and try again.").response()
    return HubError(500, f"The embedded Hub failed with {type(error).__name__}; its log has the details.").response()


def _check_host(scope: Scope) -> None:
    # A page in a browser could otherwise reach us under a name of its own that resolves to 127.0.0.1.
    host = Request(scope).headers.get("host", "")
    name = host[: host.rindex("]") + 1] if "]" in host else host.split(":")[0]
    if name.lower() not in HOSTS:
        raise HubError(421, f"The embedded Hub answers to 127.0.0.1 and localhost, not to {name!r}.")


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    path = scope["path"]
    if path.startswith("/api/"):
        raise HubError(501, f"The embedded Hub does not offer {scope['method']} {path}.")
    raise HubError(404, f"There is nothing at {path}.")
