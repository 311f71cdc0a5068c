"""Large files on their way in (and out, for git-lfs): batch, upload, verify."""

import hmac
import time
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from permix.embedded_hub.call import Call, Here, Hub, HubError
from permix.embedded_hub.lfs_store import Pointer, Upload
from permix.embedded_hub.routing import route

URL_LIFETIME = 6 * 3600
"""Seconds that an upload may take to begin."""
PIECE = 1 << 20
LARGEST = 1 << 40
BATCH = 1000


def batch(call: Call) -> Response:
    """Where to send (or fetch) each large file. Those that the repository has need no upload."""
    operation = call.json.get("operation")
    if operation not in ("upload", "download"):
        raise HubError(400, f"The operation is {operation!r}: upload or download is expected.")
    here = call.here("write" if operation == "upload" else "read")
    asked = call.json.get("objects")
    if not isinstance(asked, list) or len(asked) > BATCH:
        raise HubError(400, f"The body should hold at most {BATCH} objects.")
    pointers = [_pointer(one) for one in asked]
    here_already = call.hub.accounts.granted(here.row, [pointer.oid for pointer in pointers])
    answers = []
    for pointer in pointers:
        answer: dict[str, Any] = {"oid": pointer.oid, "size": pointer.size}
        present = pointer.oid in here_already and call.hub.lfs.has(pointer)
        if operation == "upload" and not present:
            verify = f"{call.base}/{here.address}.git/info/lfs/objects/verify"
            answer["actions"] = {"upload": {"href": _signed(call, here, pointer, "upload")}, "verify": {"href": verify}}
        elif operation == "download" and present:
            answer["actions"] = {"download": {"href": _signed(call, here, pointer, "download")}}
        elif operation == "download":
            answer["error"] = {"code": 404, "message": "This repository has no such file."}
        answers.append(answer)
    return JSONResponse({"transfer": "basic", "objects": answers}, media_type="application/vnd.git-lfs+json")


def verify(call: Call) -> Response:
    """Whether an upload has arrived whole."""
    here, pointer = call.here("write"), _pointer(call.json)
    if not call.hub.accounts.granted(here.row, [pointer.oid]) or not call.hub.lfs.has(pointer):
        raise HubError(404, f"The large file {pointer.oid} has not arrived.")
    return JSONResponse({})


async def upload(request: Request) -> Response:
    """Take in one large file. The client sends no token here, so the URL itself must be the permission."""
    hub: Hub = request.scope["hub"]
    repo, pointer = _permitted(request, hub, "upload")
    if int(request.headers.get("content-length") or pointer.size) != pointer.size:
        raise HubError(400, f"{request.headers['content-length']} bytes were offered, {pointer.size} announced.")
    arriving = await run_in_threadpool(hub.lfs.receive, pointer)
    try:
        await _receive(request, arriving)
        await run_in_threadpool(arriving.finish)
    except ValueError as error:
        raise HubError(400, f"The upload of {pointer.oid} was refused: {error}.") from None
    finally:
        await run_in_threadpool(arriving.abandon)
    await run_in_threadpool(hub.accounts.grant, repo, pointer.oid)
    return Response(headers={"ETag": f'"{pointer.oid}"'})


async def download(request: Request) -> Response:
    """Hand out one large file to who has a signed URL."""
    hub: Hub = request.scope["hub"]
    _, pointer = _permitted(request, hub, "download")
    return FileResponse(hub.lfs.path(pointer.oid), media_type="application/octet-stream")


async def _receive(request: Request, arriving: Upload) -> None:
    pieces: list[bytes] = []
    waiting = 0
    async for piece in request.stream():
        pieces.append(piece)
        waiting += len(piece)
        if waiting >= PIECE:  # hashing and writing block, so they go to a thread, in pieces that are worth it
            await run_in_threadpool(arriving.write, b"".join(pieces))
            pieces, waiting = [], 0
    await run_in_threadpool(arriving.write, b"".join(pieces))


def _pointer(one: Any) -> Pointer:
    oid, size = (one.get("oid"), one.get("size")) if isinstance(one, dict) else (None, None)
    if not isinstance(oid, str) or len(oid) != 64 or not set(oid) <= set("0123456789abcdef"):
        raise HubError(422, f"{str(oid)[:80]!r} is no sha256.")
    if type(size) is not int or not 0 <= size <= LARGEST:
        raise HubError(422, f"{str(size)[:80]!r} is no size of a file.")
    return Pointer(oid, size)


def _signed(call: Call, here: Here, pointer: Pointer, operation: str) -> str:
    text = f"{operation}/{here.row.id}/{pointer.oid}/{pointer.size}/{int(time.time()) + URL_LIFETIME}"
    return f"{call.base}/api/lfs/{text}/{call.hub.sign(text)}"


def _permitted(request: Request, hub: Hub, operation: str) -> tuple[int, Pointer]:
    parts = request.path_params
    repo, oid, size, until = (str(parts[key]) for key in ("repo", "oid", "size", "until"))
    expected = hub.sign(f"{operation}/{repo}/{oid}/{size}/{until}")
    if not hmac.compare_digest(expected.encode(), str(parts["signature"]).encode()):
        raise HubError(403, "This URL was not made by this Hub.")
    if int(until) < time.time():
        raise HubError(403, "This URL has expired: ask for a new one.")
    return int(repo), Pointer(oid, int(size))


_LFS = "/{prefix}{namespace}/{name}.git/info/lfs/objects"
_SIGNED = "/{repo}/{oid}/{size}/{until}/{signature}"
ROUTES = [
    route("POST", f"{_LFS}/batch", batch),
    route("POST", f"{_LFS}/verify", verify),
    Route(f"/api/lfs/upload{_SIGNED}", upload, methods=["PUT"]),
    Route(f"/api/lfs/download{_SIGNED}", download, methods=["GET"]),
]
