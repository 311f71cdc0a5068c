"""Routes from paths to endpoints. An endpoint is a plain function `HubRequest -> Response` that runs in a thread."""

import asyncio
import base64
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote, unquote

from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from embedded_hub.context import ServerContext
from embedded_hub.database.accounts import Account
from embedded_hub.errors import HubError
from embedded_hub.request import HubRequest
from embedded_hub.store.lfs import FileUpload
from embedded_hub.store.xet import XorbUpload

REPO = "/api/{kind}/{namespace}/{name}"
SMALL_BODY = 8 << 20
PIECE = 1 << 20
"""Bytes that are worth a change of thread."""
Endpoint = Callable[[HubRequest], Response]


def account_of(request: Request, context: ServerContext) -> Account | None:
    """Return the account of the token; None without a token; 401 for a wrong one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not token:
        return None
    if scheme.lower() == "basic":  # git: the token is the password
        with suppress(ValueError):
            token = base64.b64decode(token).decode().partition(":")[2]
    account = context.accounts.account(token.strip()) if scheme.lower() in ("bearer", "basic") else None
    if account is None:
        raise HubError(401, "Invalid credentials in Authorization header")
    return account


def route(method: str, path: str, endpoint: Endpoint, body_limit: int = SMALL_BODY) -> Route:
    """Return a route. In `path`: {kind}, {prefix} (`datasets/`, `spaces/` or empty), {x} a segment, {x:rest}."""

    async def respond(request: Request) -> Response:
        context: ServerContext = request.scope["context"]
        if method == "GET":
            return await run_in_threadpool(lambda: endpoint(HubRequest(request, context, account_of(request, context))))
        account = await run_in_threadpool(account_of, request, context)  # before a stranger's body is received
        body = await read_body(request, body_limit)
        return await run_in_threadpool(endpoint, HubRequest(request, context, account, body))

    for short, full in (("{kind}", "{kind:kind}"), ("{prefix}", "{prefix:prefix}")):
        path = path.replace(short, full)
    for name in ("namespace", "name", "revision", "ref", "oid", "num"):
        path = path.replace(f"{{{name}}}", f"{{{name}:segment}}")
    return Route(path, respond, methods=[method])


async def read_body(request: Request, limit: int) -> bytes:
    """Return the whole body; 413 as soon as it is longer than `limit` bytes."""
    too_long = HubError(413, f"The body is longer than {limit >> 20} MiB, which is the most that is accepted here.")
    if int(request.headers.get("content-length") or 0) > limit:
        raise too_long
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            raise too_long
    return bytes(body)


async def pour(request: Request, write: Callable[[bytes], None]) -> None:
    """Pass the body to `write`, which may block: in a thread, while the next piece arrives."""
    writing: asyncio.Future[None] | None = None
    pieces: list[bytes] = []
    size = 0

    def write_all(pieces: list[bytes]) -> None:
        for piece in pieces:
            write(piece)

    try:
        async for piece in request.stream():
            pieces.append(piece)
            size += len(piece)
            if size >= PIECE:
                if writing:
                    await writing
                writing = asyncio.ensure_future(run_in_threadpool(write_all, pieces))
                pieces, size = [], 0
    finally:  # also when the client disconnected: the file must not be closed under a thread
        if writing:
            await writing
    await run_in_threadpool(write_all, pieces)


async def receive(request: Request, begin: Callable[[], FileUpload | XorbUpload], name: str) -> None:
    """Receive the body as an upload; 400 if its content is not the announced one."""
    upload = await run_in_threadpool(begin)
    try:
        await pour(request, upload.write)
        await run_in_threadpool(upload.finish)
    except ValueError as error:
        raise HubError(400, f"The {name} was refused: {error}.") from None
    finally:
        await run_in_threadpool(upload.abandon)


class Segment(Convertor[str]):
    """A part of the raw path. Decoding it only now lets a revision or a path hold an encoded slash."""

    def convert(self, value: str) -> str:
        try:
            return unquote(value, errors="strict")
        except UnicodeDecodeError:
            raise HubError(400, "The path is not UTF-8.") from None

    def to_string(self, value: str) -> str:
        return quote(value, safe="")


def register_segment(name: str, regex: str) -> None:
    """Let `{x:name}` in the path of a route stand for `regex`."""
    register_url_convertor(name, type(name, (Segment,), {"regex": regex})())


register_segment("segment", "[^/]+")
register_segment("rest", ".+")
register_segment("kind", "(?:models|datasets|spaces)")
register_segment("prefix", "(?:datasets/|spaces/)?")
