"""Large files by Xet, the default of clients: chunks in xorbs, then a shard that lists the chunks of each file.

Files are rebuilt on arrival and stored in the LFS store; downloads are plain HTTP. The client alone chooses between
Xet and LFS for an upload, so this server has both.
"""

import mmap
import re
import tempfile
import time
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from embedded_hub.context import ServerContext
from embedded_hub.database.accounts import RepoRow
from embedded_hub.errors import HubError
from embedded_hub.request import HubRequest
from embedded_hub.routing import REPO, pour, receive, route
from embedded_hub.store.buckets import BUCKETS
from embedded_hub.store.lfs import LARGEST, Pointer
from embedded_hub.store.xet import MissingXorb
from embedded_hub.store.xet_format import SHARD_LIMIT, XORB_LIMIT, Malformed, XetFile, files_in

TOKEN_LIFETIME = 900
"""Seconds; clients request a new token in time."""


def write_token(request: HubRequest) -> Response:
    """Return the address and the token for uploading xorbs and shards of this repository."""
    return token_for(request, request.repository("write").row)


def token_for(request: HubRequest, row: RepoRow) -> Response:
    """Return the address and the token for a repository or bucket to which the caller may write."""
    address = request.context.xet.address(row.id)
    # The setting is random, so that no two data directories share a URL.
    path = f"{request.context.database.setting('xet')[:16]}/{row.id}/{address}"
    until = int(time.time()) + TOKEN_LIFETIME
    url, token = f"{request.base_url}/_xet/{path}", f"{until}-{request.context.sign(f'xet/{path}/{until}')}"
    headers = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(until)}
    return JSONResponse({"casUrl": url, "accessToken": token, "exp": until}, headers=headers)


async def xorb(request: Request) -> Response:
    """Receive a xorb."""
    context, repo, address = _permitted(request)
    hash_ = request.path_params["hash"]
    if not re.fullmatch("[0-9a-f]{64}", hash_):
        raise HubError(400, f"{hash_[:80]!r} is not the hash of a xorb.")
    _check_length(request, XORB_LIMIT)
    await receive(request, partial(context.xet.receive, repo, address, hash_), f"xorb {hash_}")
    return JSONResponse({"was_inserted": True})


async def shard(request: Request) -> Response:
    """Receive a shard and rebuild its files."""
    context, repo, address = _permitted(request)
    _check_length(request, SHARD_LIMIT)
    with tempfile.TemporaryFile(dir=context.xet.incoming) as spool:

        def write(piece: bytes) -> None:
            spool.write(piece)
            if spool.tell() > SHARD_LIMIT:
                raise HubError(413, f"A shard has at most {SHARD_LIMIT >> 20} MiB.")

        await pour(request, write)
        if not spool.tell():
            raise HubError(400, "The shard is empty.")
        spool.flush()
        await run_in_threadpool(_rebuild_files, context, repo, address, spool.fileno())
    return JSONResponse({"result": 1})


async def unsupported(request: Request) -> Response:
    """Refuse deduplication across repositories, grants and newer formats; clients continue without them."""
    _permitted(request)
    raise HubError(404, "The embedded Hub does not offer this: it accepts xorbs and shards.")


def _rebuild_files(context: ServerContext, repo: int, address: str, spool: int) -> None:
    with mmap.mmap(spool, 0, access=mmap.ACCESS_READ) as content, memoryview(content) as view:
        try:
            for file in files_in(view):
                _rebuild(context, repo, address, file)
        except Malformed as error:
            raise HubError(400, f"The shard was refused: {error}.") from None


def _rebuild(context: ServerContext, repo: int, address: str, file: XetFile) -> None:
    row = context.accounts.repo_of_id(repo)
    if row is None:
        raise HubError(404, "The repository has been deleted.", "RepoNotFound")
    if file.size > LARGEST:
        raise HubError(400, f"A file of {file.size} bytes is too large.")
    sha256 = "" if row.kind == BUCKETS else file.sha256
    if sha256 is None:
        raise Malformed("one of its files does not have a sha256")
    with context.xet.alone(sha256 or file.hash):
        if sha256 and context.accounts.granted(row, [sha256]) and context.lfs.has(Pointer(sha256, file.size)):
            context.lfs.touch(sha256)
            return
        try:
            if sha256:
                context.xet.rebuild(repo, address, file, Pointer(sha256, file.size), context.lfs)
            else:
                context.buckets.receive(row, file.hash, file.size, context.xet.content(repo, address, file))
        except MissingXorb as error:
            context.xet.renew(repo, address)
            raise HubError(400, f"The xorb {error} is missing or incomplete: upload again.") from None
        except ValueError as error:
            raise HubError(400, f"The file {sha256 or file.hash} was refused: {error}.") from None
        if sha256:
            context.accounts.grant(repo, sha256)


def _permitted(request: Request) -> tuple[ServerContext, int, str]:
    context: ServerContext = request.scope["context"]
    instance, repo, address = (str(request.path_params[key]) for key in ("instance", "repo", "address"))
    until, _, signature = request.headers.get("authorization", "").removeprefix("Bearer ").partition("-")
    if not context.signed(f"xet/{instance}/{repo}/{address}/{until}", signature):
        raise HubError(401, "This token was not made for this address.")
    if int(until) < time.time():
        raise HubError(401, "This token has expired: ask for a new one.")
    return context, int(repo), address


def _check_length(request: Request, limit: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise HubError(413, f"{length} bytes were offered, at most {limit} are accepted here.")


_CAS = "/_xet/{instance}/{repo}/{address}"
ROUTES = [
    route("GET", f"{REPO}/xet-write-token/{{revision}}", write_token),
    Route(f"{_CAS}/v1/xorbs/default/{{hash}}", xorb, methods=["POST"]),
    Route(f"{_CAS}/v1/shards", shard, methods=["POST"]),
    Route(f"{_CAS}/{{path:path}}", unsupported, methods=["GET", "POST"]),
]
