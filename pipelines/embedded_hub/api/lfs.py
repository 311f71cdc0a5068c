"""Uploads of large files (and downloads for git-lfs): batch, upload, verify."""

import os
import secrets
import time
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from embedded_hub.context import ServerContext
from embedded_hub.errors import HubError
from embedded_hub.request import HubRequest, OpenRepository
from embedded_hub.routing import receive, route
from embedded_hub.store.lfs import LARGEST, Pointer

URL_LIFETIME = 6 * 3600
"""Seconds within which an upload must begin."""
PARTS_FROM = int(os.environ.get("PERMIX_HUB_PARTS_FROM", 2 << 30))
"""Bytes from which a file is sent in parts, so that a broken connection does not cost all of it."""
PART = min(64 << 20, PARTS_FROM)
MOST_PARTS = 10_000
BATCH = 1000


def batch(request: HubRequest) -> Response:
    """Return where to upload or download each large file. Files that the repository has need no upload."""
    operation = request.json.get("operation")
    if operation not in ("upload", "download"):
        raise HubError(400, f"The operation is {operation!r}: upload or download is expected.")
    repository = request.repository("write" if operation == "upload" else "read")
    objects = request.json.get("objects")
    if not isinstance(objects, list) or len(objects) > BATCH:
        raise HubError(400, f"The body should hold at most {BATCH} objects.")
    pointers = [_pointer(object_) for object_ in objects]
    granted = request.context.accounts.granted(repository.row, [pointer.oid for pointer in pointers])
    in_parts = operation == "upload" and "multipart" in (request.json.get("transfers") or ())
    answers, transfer = [], "basic"
    for pointer in pointers:
        answer: dict[str, Any] = {"oid": pointer.oid, "size": pointer.size}
        present = pointer.oid in granted and request.context.lfs.has(pointer)
        if present:
            request.context.lfs.touch(pointer.oid)
        if operation == "upload" and not present:
            verify = f"{request.base_url}/{repository.address}.git/info/lfs/objects/verify"
            if in_parts and pointer.size >= PARTS_FROM:
                upload, transfer = _upload_in_parts(request, repository, pointer), "multipart"
            else:
                upload = {"href": _signed(request, repository, pointer, "upload")}
            answer["actions"] = {"upload": upload, "verify": {"href": verify}}
        elif operation == "download" and present:
            answer["actions"] = {"download": {"href": _signed(request, repository, pointer, "download")}}
        elif operation == "download":
            answer["error"] = {"code": 404, "message": "This repository does not have the file."}
        answers.append(answer)
    return JSONResponse({"transfer": transfer, "objects": answers}, media_type="application/vnd.git-lfs+json")


def verify(request: HubRequest) -> Response:
    """Check that an upload has arrived whole."""
    repository, pointer = request.repository("write"), _pointer(request.json)
    granted = request.context.accounts.granted(repository.row, [pointer.oid])
    if not granted or not request.context.lfs.has(pointer):
        raise HubError(404, f"The large file {pointer.oid} has not arrived.")
    return JSONResponse({})


async def upload(request: Request) -> Response:
    """Receive one large file. The client does not send its token here, so the URL itself is the permission."""
    context, repo, pointer = _permitted(request)
    _check_length(request, pointer.size)
    await receive(request, partial(context.lfs.receive, pointer), "upload")
    await run_in_threadpool(context.accounts.grant, repo, pointer.oid)
    return Response(headers={"ETag": f'"{pointer.oid}"'})


async def part(request: Request) -> Response:
    """Receive one part of a large file."""
    context, _, _ = _permitted(request)
    name, number, size = (str(request.path_params[key]) for key in ("name", "number", "length"))
    _check_length(request, int(size))
    await receive(request, partial(context.lfs.receive_part, name, int(number), int(size)), "upload")
    return Response(headers={"ETag": f'"{name}-{number}"'})


def complete(request: Request) -> Response:
    """Join the parts of a large file."""
    context, repo, pointer = _permitted(request)
    row = context.accounts.repo_of_id(repo)
    if row and context.accounts.granted(row, [pointer.oid]) and context.lfs.has(pointer):
        return JSONResponse({})  # the answer to the first request was lost
    try:
        context.lfs.join(str(request.path_params["name"]), pointer)
    except ValueError as error:
        raise HubError(400, f"The upload of {pointer.oid} was refused: {error}.") from None
    context.accounts.grant(repo, pointer.oid)
    return JSONResponse({})


async def download(request: Request) -> Response:
    """Send the large file of a signed URL."""
    context, _, pointer = _permitted(request)
    return FileResponse(context.lfs.path(pointer.oid), media_type="application/octet-stream")


def _check_length(request: Request, size: int) -> None:
    if int(request.headers.get("content-length") or size) != size:
        raise HubError(400, f"{request.headers['content-length']} bytes were offered, {size} announced.")


def _pointer(object_: Any) -> Pointer:
    oid, size = (object_.get("oid"), object_.get("size")) if isinstance(object_, dict) else (None, None)
    if not isinstance(oid, str) or len(oid) != 64 or not set(oid) <= set("0123456789abcdef"):
        raise HubError(422, f"{str(oid)[:80]!r} is not a sha256.")
    if type(size) is not int or not 0 <= size <= LARGEST:
        raise HubError(422, f"{str(size)[:80]!r} is not the size of a file.")
    return Pointer(oid, size)


def _upload_in_parts(request: HubRequest, repository: OpenRepository, pointer: Pointer) -> dict[str, Any]:
    name = secrets.token_hex(16)
    size = max(PART, -(-pointer.size // MOST_PARTS))
    header = {"chunk_size": str(size)}
    for number, start in enumerate(range(0, pointer.size, size), 1):
        length = min(size, pointer.size - start)
        header[f"{number:05d}"] = _signed(request, repository, pointer, f"part/{name}/{number}/{length}")
    return {"href": _signed(request, repository, pointer, f"complete/{name}"), "header": header}


def _signed(request: HubRequest, repository: OpenRepository, pointer: Pointer, operation: str) -> str:
    text = f"{operation}/{repository.row.id}/{pointer.oid}/{pointer.size}/{int(time.time()) + URL_LIFETIME}"
    return f"{request.base_url}/api/lfs/{text}/{request.context.sign(text)}"


def _permitted(request: Request) -> tuple[ServerContext, int, Pointer]:
    """Return the context, repository id and pointer of a signed URL; 403 for any other URL."""
    context: ServerContext = request.scope["context"]
    text, _, signature = str(request.scope["path"]).removeprefix("/api/lfs/").rpartition("/")
    if not context.signed(text, signature):
        raise HubError(403, "This URL was not made by this Hub.")
    repo, oid, size, until = text.split("/")[-4:]
    if int(until) < time.time():
        raise HubError(403, "This URL has expired: ask for a new one.")
    return context, int(repo), Pointer(oid, int(size))


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
