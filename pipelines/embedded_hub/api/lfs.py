"""Large files on their way in (and out, for git-lfs): batch, upload, verify."""

import hmac
import os
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from embedded_hub.context import Hub
from embedded_hub.errors import HubError
from embedded_hub.request import Call, Here
from embedded_hub.routing import pour, route
from embedded_hub.store.lfs import LARGEST, Arriving, Pointer

URL_LIFETIME = 6 * 3600
"""Seconds that an upload may take to begin."""
PARTS_FROM = int(os.environ.get("PERMIX_HUB_PARTS_FROM", 2 << 30))
"""Bytes from which a file is asked for in parts, so that a broken connection does not cost all of it."""
PART = min(64 << 20, PARTS_FROM)
MOST_PARTS = 10_000
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
    in_parts = operation == "upload" and "multipart" in (call.json.get("transfers") or ())
    answers = []
    for pointer in pointers:
        answer: dict[str, Any] = {"oid": pointer.oid, "size": pointer.size}
        present = pointer.oid in here_already and call.hub.lfs.has(pointer)
        if present:
            call.hub.lfs.touch(pointer.oid)
        if operation == "upload" and not present:
            verify = f"{call.base}/{here.address}.git/info/lfs/objects/verify"
            parts = in_parts and pointer.size >= PARTS_FROM
            how = _in_parts(call, here, pointer) if parts else {"href": _signed(call, here, pointer, "upload")}
            answer["actions"] = {"upload": how, "verify": {"href": verify}}
        elif operation == "download" and present:
            answer["actions"] = {"download": {"href": _signed(call, here, pointer, "download")}}
        elif operation == "download":
            answer["error"] = {"code": 404, "message": "This repository has no such file."}
        answers.append(answer)
    transfer = "multipart" if any("header" in _upload_of(answer) for answer in answers) else "basic"
    return JSONResponse({"transfer": transfer, "objects": answers}, media_type="application/vnd.git-lfs+json")


def verify(call: Call) -> Response:
    """Whether an upload has arrived whole."""
    here, pointer = call.here("write"), _pointer(call.json)
    if not call.hub.accounts.granted(here.row, [pointer.oid]) or not call.hub.lfs.has(pointer):
        raise HubError(404, f"The large file {pointer.oid} has not arrived.")
    return JSONResponse({})


async def upload(request: Request) -> Response:
    """Take in one large file. The client sends no token here, so the URL itself must be the permission."""
    hub, repo, pointer = _permitted(request)
    await _receive(request, pointer.size, partial(hub.lfs.receive, pointer))
    await run_in_threadpool(hub.accounts.grant, repo, pointer.oid)
    return Response(headers={"ETag": f'"{pointer.oid}"'})


async def part(request: Request) -> Response:
    """Take in one part of a large file."""
    hub, _, _ = _permitted(request)
    name, number, size = (str(request.path_params[key]) for key in ("name", "number", "length"))
    await _receive(request, int(size), partial(hub.lfs.receive_part, name, int(number), int(size)))
    return Response(headers={"ETag": f'"{name}-{number}"'})


def complete(request: Request) -> Response:
    """Put the parts of a large file together."""
    hub, repo, pointer = _permitted(request)
    row = hub.accounts.repo_of_id(repo)
    if row and hub.accounts.granted(row, [pointer.oid]) and hub.lfs.has(pointer):
        return JSONResponse({})  # the answer to the first request was lost
    try:
        hub.lfs.join(str(request.path_params["name"]), pointer)
    except ValueError as error:
        raise HubError(400, f"The upload of {pointer.oid} was refused: {error}.") from None
    hub.accounts.grant(repo, pointer.oid)
    return JSONResponse({})


async def download(request: Request) -> Response:
    """Hand out one large file to who has a signed URL."""
    hub, _, pointer = _permitted(request)
    return FileResponse(hub.lfs.path(pointer.oid), media_type="application/octet-stream")


async def _receive(request: Request, size: int, begin: Callable[[], Arriving]) -> None:
    if int(request.headers.get("content-length") or size) != size:
        raise HubError(400, f"{request.headers['content-length']} bytes were offered, {size} announced.")
    arriving = await run_in_threadpool(begin)
    try:
        await pour(request, arriving.write)
        await run_in_threadpool(arriving.finish)
    except ValueError as error:
        raise HubError(400, f"The upload was refused: {error}.") from None
    finally:
        await run_in_threadpool(arriving.abandon)


def _pointer(one: Any) -> Pointer:
    oid, size = (one.get("oid"), one.get("size")) if isinstance(one, dict) else (None, None)
    if not isinstance(oid, str) or len(oid) != 64 or not set(oid) <= set("0123456789abcdef"):
        raise HubError(422, f"{str(oid)[:80]!r} is no sha256.")
    if type(size) is not int or not 0 <= size <= LARGEST:
        raise HubError(422, f"{str(size)[:80]!r} is no size of a file.")
    return Pointer(oid, size)


def _in_parts(call: Call, here: Here, pointer: Pointer) -> dict[str, Any]:
    name = secrets.token_hex(16)
    size = max(PART, -(-pointer.size // MOST_PARTS))
    header = {"chunk_size": str(size)}
    for number, start in enumerate(range(0, pointer.size, size), 1):
        length = min(size, pointer.size - start)
        header[f"{number:05d}"] = _signed(call, here, pointer, f"part/{name}/{number}/{length}")
    return {"href": _signed(call, here, pointer, f"complete/{name}"), "header": header}


def _upload_of(answer: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = answer.get("actions", {}).get("upload", {})
    return found


def _signed(call: Call, here: Here, pointer: Pointer, operation: str) -> str:
    text = f"{operation}/{here.row.id}/{pointer.oid}/{pointer.size}/{int(time.time()) + URL_LIFETIME}"
    return f"{call.base}/api/lfs/{text}/{call.hub.sign(text)}"


def _permitted(request: Request) -> tuple[Hub, int, Pointer]:
    hub: Hub = request.scope["hub"]
    text, _, signature = str(request.scope["path"]).removeprefix("/api/lfs/").rpartition("/")
    if not hmac.compare_digest(hub.sign(text).encode(), signature.encode()):
        raise HubError(403, "This URL was not made by this Hub.")
    repo, oid, size, until = text.split("/")[-4:]
    if int(until) < time.time():
        raise HubError(403, "This URL has expired: ask for a new one.")
    return hub, int(repo), Pointer(oid, int(size))


_LFS = "/{prefix}{namespace}/{name}.git/info/lfs/objects"
_SIGNED = "{repo}/{oid}/{size}/{until}/{signature}"
ROUTES = [
    route("POST", f"{_LFS}/batch", batch),
    route("POST", f"{_LFS}/verify", verify),
    Route(f"/api/lfs/upload/{_SIGNED}", upload, methods=["PUT"]),
    Route(f"/api/lfs/part/{{name}}/{{number}}/{{length}}/{_SIGNED}", part, methods=["PUT"]),
    Route(f"/api/lfs/complete/{{name}}/{_SIGNED}", complete, methods=["POST"]),
    Route(f"/api/lfs/download/{_SIGNED}", download, methods=["GET"]),
]
