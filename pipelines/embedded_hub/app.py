"""The ASGI application: every route behind one guard."""

import errno
import sqlite3
from email.utils import formatdate

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
from embedded_hub.context import ServerContext, log
from embedded_hub.errors import HubError
from embedded_hub.web import pages

ROUTE_MODULES = (
    account, content, info, repositories, refs, commits, discussions, collections, lfs, xet, webhooks, jobs, spaces,
    buckets, git, pages,
)  # fmt: skip
HOSTS = {"127.0.0.1", "localhost", "[::1]"}


class App:
    """Refuse foreign hosts, route on the raw path, turn failures into JSON (exceptions would cut connections)."""

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
