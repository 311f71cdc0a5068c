"""Large files by Xet, as clients send them by default: chunks in xorbs, then a shard that says how files are made.

Files are put together on arrival and lie in the LFS store from then on; downloads are plain HTTP. Which of the two ways
an upload takes is the client's choice alone, so both are here.
"""

import hmac
import mmap
import re
import tempfile
import time

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from embedded_hub.context import Hub
from embedded_hub.database.accounts import RepoRow
from embedded_hub.errors import HubError
from embedded_hub.request import Call
from embedded_hub.routing import pour, route
from embedded_hub.store.buckets import BUCKETS
from embedded_hub.store.lfs import LARGEST, Pointer
from embedded_hub.store.xet import MissingXorb
from embedded_hub.store.xet_format import SHARD_LIMIT, XORB_LIMIT, Malformed, XetFile, files_in

TOKEN_LIFETIME = 900
"""Seconds; clients ask for a new token in time."""
IN_MEMORY = 1 << 20


def write_token(call: Call) -> Response:
    """Where to send xorbs and shards of this repository, and the permission to do so."""
    return token_for(call, call.here("write").row)


def token_for(call: Call, row: RepoRow) -> Response:
    """The same for a repository or a bucket that the caller may write to."""
    address = call.hub.xet.address(row.id)
    where = f"{call.hub.accounts.setting('xet')[:16]}/{row.id}/{address}"  # no two data directories have one URL
    until = int(time.time()) + TOKEN_LIFETIME
    url, token = f"{call.base}/_xet/{where}", f"{until}-{call.hub.sign(f'xet/{where}/{until}')}"
    headers = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(until)}
    return JSONResponse({"casUrl": url, "accessToken": token, "exp": until}, headers=headers)


async def xorb(request: Request) -> Response:
    """Take in a xorb."""
    hub, repo, address = _permitted(request)
    hash_ = request.path_params["hash"]
    if not re.fullmatch("[0-9a-f]{64}", hash_):
        raise HubError(400, f"{hash_[:80]!r} is no hash of a xorb.")
    _check_length(request, XORB_LIMIT)
    arriving = await run_in_threadpool(hub.xet.receive, repo, address, hash_)
    try:
        await pour(request, arriving.write)
        await run_in_threadpool(arriving.finish)
    except Malformed as error:
        raise HubError(400, f"The xorb {hash_} was refused: {error}.") from None
    finally:
        await run_in_threadpool(arriving.abandon)
    return JSONResponse({"was_inserted": True})


async def shard(request: Request) -> Response:
    """Make the files that a shard describes."""
    hub, repo, address = _permitted(request)
    _check_length(request, SHARD_LIMIT)
    with tempfile.TemporaryFile(dir=hub.xet.incoming) as spool:
        taken = 0

        def write(piece: bytes) -> None:
            nonlocal taken
            taken += spool.write(piece)
            if taken > SHARD_LIMIT:
                raise HubError(413, f"A shard has at most {SHARD_LIMIT >> 20} MiB.")

        await pour(request, write)
        if not taken:
            raise HubError(400, "The shard is empty.")
        spool.flush()
        await run_in_threadpool(_take_in, hub, repo, address, spool.fileno())
    return JSONResponse({"result": 1})


async def nothing_there(request: Request) -> Response:
    """Chunks known from elsewhere, grants, newer ways to send the same: clients go on without."""
    _permitted(request)
    raise HubError(404, "The embedded Hub does not offer this: it takes xorbs and shards.")


def telemetry(call: Call) -> Response:
    """Nothing is counted here."""
    return Response(status_code=204)


def _take_in(hub: Hub, repo: int, address: str, spool: int) -> None:
    with mmap.mmap(spool, 0, access=mmap.ACCESS_READ) as whole, memoryview(whole) as view:
        try:
            for file in files_in(view):
                _make(hub, repo, address, file)
        except Malformed as error:
            raise HubError(400, f"The shard was refused: {error}.") from None


def _make(hub: Hub, repo: int, address: str, file: XetFile) -> None:
    row = hub.accounts.repo_of_id(repo)
    if row is None:
        raise HubError(404, "The repository has been deleted.", "RepoNotFound")
    if file.size > LARGEST:
        raise HubError(400, f"A file of {file.size} bytes is too large.")
    sha256 = "" if row.kind == BUCKETS else file.sha256
    if sha256 is None:
        raise Malformed("one of its files has no sha256")
    with hub.xet.alone(sha256 or file.hash):
        if sha256 and hub.accounts.granted(row, [sha256]) and hub.lfs.has(Pointer(sha256, file.size)):
            hub.lfs.touch(sha256)
            return
        try:
            if sha256:
                hub.xet.rebuild(repo, address, file, Pointer(sha256, file.size), hub.lfs)
            else:
                hub.buckets.receive(row, file.hash, file.size, hub.xet.content(repo, address, file))
        except MissingXorb as error:
            hub.xet.renew(repo, address)
            raise HubError(400, f"The xorb {error} is not here, or not all of it: upload again.") from None
        except ValueError as error:
            raise HubError(400, f"The file {sha256 or file.hash} was refused: {error}.") from None
        if sha256:
            hub.accounts.grant(repo, sha256)


def _permitted(request: Request) -> tuple[Hub, int, str]:
    hub: Hub = request.scope["hub"]
    instance, repo, address = (str(request.path_params[key]) for key in ("instance", "repo", "address"))
    until, _, signature = request.headers.get("authorization", "").removeprefix("Bearer ").partition("-")
    expected = hub.sign(f"xet/{instance}/{repo}/{address}/{until}")
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        raise HubError(401, "This token was not made for this address.")
    if int(until) < time.time():
        raise HubError(401, "This token has expired: ask for a new one.")
    return hub, int(repo), address


def _check_length(request: Request, limit: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise HubError(413, f"{length} bytes were offered, at most {limit} are taken here.")


_CAS = "/_xet/{instance}/{repo}/{address}"
ROUTES = [
    route("GET", "/api/{kind}/{namespace}/{name}/xet-write-token/{revision}", write_token),
    Route(f"{_CAS}/v1/xorbs/default/{{hash}}", xorb, methods=["POST"]),
    Route(f"{_CAS}/v1/shards", shard, methods=["POST"]),
    Route(f"{_CAS}/{{path:path}}", nothing_there, methods=["GET", "POST"]),
    route("POST", "/v1/telemetry", telemetry),
]
