"""Buckets, as far as Jobs need them: create, fill, list and read. Files arrive by Xet and leave by plain HTTP."""

import json
import re
from pathlib import Path
from typing import Any, Literal

from starlette.responses import FileResponse, JSONResponse, Response

from embedded_hub.api.commits import checked_path
from embedded_hub.api.xet import token_for
from embedded_hub.clock import written
from embedded_hub.database.accounts import NameTaken, RepoRow, valid_name, valid_namespace
from embedded_hub.errors import HubError
from embedded_hub.request import HubRequest
from embedded_hub.routing import route
from embedded_hub.store.buckets import BUCKETS

OPERATIONS = 1000
PAGE_SIZE = 1000
NO_HASH = "0" * 64
"""A Job may have written the file, so its Xet hash is unknown."""


def create(request: HubRequest) -> Response:
    """Create an empty bucket."""
    namespace, name = _owner(request), request.param("name")
    if not valid_name(name) or not valid_namespace(namespace):
        raise HubError(400, f"{namespace}/{name} is not a valid name of a bucket.")
    request.check_may_write(namespace, f"create buckets under {namespace}")
    visibility = request.json.get("visibility") or "public"
    if visibility not in ("public", "private"):
        raise HubError(400, f"The visibility {str(visibility)[:40]!r} is not known: public or private is expected.")
    url = f"{request.base_url}/{BUCKETS}/{namespace}/{name}"
    try:
        request.context.accounts.add_repo(BUCKETS, namespace, name, visibility == "private", None)
    except NameTaken:
        raise HubError(409, f"There is a bucket {namespace}/{name} already.", url=url) from None
    return JSONResponse({"url": url})


def details(request: HubRequest) -> Response:
    """Describe a bucket."""
    bucket = _bucket(request)
    sizes = [path.stat().st_size for path in request.context.buckets.files(bucket).rglob("*") if path.is_file()]
    return JSONResponse({
        "id": bucket.full_name, "private": bucket.private, "createdAt": bucket.created, "size": sum(sizes),
        "totalFiles": len(sizes),
    })  # fmt: skip


def delete(request: HubRequest) -> Response:
    """Delete a bucket."""
    bucket = _bucket(request, "write")
    request.context.accounts.remove_repo(bucket)
    request.context.buckets.discard(bucket)
    return JSONResponse({})


def write_token(request: HubRequest) -> Response:
    """Return the address and the token for uploading content."""
    return token_for(request, _bucket(request, "write"))


def batch(request: HubRequest) -> Response:
    """Move uploaded content to its paths and delete files; failed operations are listed in the reply."""
    bucket = _bucket(request, "write")
    lines = [line for line in request.body.split(b"\n") if line.strip()]
    if not 0 < len(lines) <= OPERATIONS:
        raise HubError(400, f"A batch has 1 to {OPERATIONS} operations, not {len(lines)}.")
    buckets, failed = request.context.buckets, []
    for operation in [_operation(line) for line in lines]:
        path = operation["path"]
        try:
            if operation["type"] == "deleteFile":
                buckets.remove(bucket, path)
            else:
                buckets.add(bucket, operation["xetHash"], path, operation["mtime"] / 1000)
        except OSError as error:
            failed.append({"path": path, "error": error.strerror or str(error)})
    succeeded = len(lines) - len(failed)
    status = 422 if failed and not succeeded else 200
    return JSONResponse({"success": not failed, "succeeded": succeeded, "failed": failed}, status)


def tree(request: HubRequest) -> Response:
    """List a bucket or a folder of it, page by page."""
    bucket = _bucket(request)
    prefix = request.http.path_params.get("path", "").strip("/")
    folder = _path(request, bucket, prefix) if prefix else request.context.buckets.files(bucket)
    paths = sorted(folder.rglob("*") if request.flag("recursive") else folder.glob("*"))
    page, headers = request.page(paths, PAGE_SIZE)
    return JSONResponse([_described(request, bucket, path) for path in page], headers=headers)


def paths_info(request: HubRequest) -> Response:
    """Describe some files; missing ones are omitted."""
    bucket = _bucket(request)
    paths = [_path(request, bucket, path) for path in request.form.get("paths", [])[:OPERATIONS]]
    return JSONResponse([_described(request, bucket, path) for path in paths if path.is_file()])


def resolve(request: HubRequest) -> Response:
    """Return a file's bytes."""
    path = _path(request, find(request, request.param("namespace"), request.param("name")), request.param("path"))
    if not path.is_file():
        raise HubError(404, f"There is no file {request.param('path')!r} in this bucket.", "EntryNotFound")
    headers = {"Content-Security-Policy": "default-src 'none'; sandbox", "X-Content-Type-Options": "nosniff"}
    return FileResponse(path, headers=headers, media_type="application/octet-stream")


def find(request: HubRequest, namespace: str, name: str, need: Literal["read", "write"] = "read") -> RepoRow:
    """Return the named bucket; 404 or 401 if the caller may not see it, 403 if it may not write."""
    bucket = request.context.accounts.repo(BUCKETS, namespace, name)
    if bucket is None or not request.may_read(bucket):
        raise request.not_found(BUCKETS, namespace, name)
    if need == "write":
        request.check_may_write(bucket.namespace, f"write to the bucket {bucket.full_name}")
    return bucket


def check_volumes(request: HubRequest, volumes: list[dict[str, Any]]) -> None:
    """Refuse volumes that the caller may not use."""
    for volume in volumes:
        namespace, _, name = str(volume["source"]).partition("/")
        find(request, namespace, name, "read" if volume.get("readOnly") else "write")


def _bucket(request: HubRequest, need: Literal["read", "write"] = "read") -> RepoRow:
    return find(request, _owner(request), request.param("name"), need)


def _owner(request: HubRequest) -> str:
    return request.caller().user if request.param("namespace") == "me" else request.param("namespace")


def _path(request: HubRequest, bucket: RepoRow, path: str) -> Path:
    try:
        return request.context.buckets.path(bucket, checked_path(path))
    except PermissionError as error:
        raise HubError(403, f"{error}.") from None


def _operation(line: bytes) -> dict[str, Any]:
    try:
        operation: dict[str, Any] = json.loads(line)
        kind, mtime = operation["type"], operation.get("mtime", 0)
        operation["path"] = checked_path(operation["path"])
    except (ValueError, TypeError, KeyError):
        raise HubError(400, "A line of the batch is not a JSON object with type and path.") from None
    if kind not in ("addFile", "deleteFile"):
        raise HubError(501, f"Buckets here know addFile and deleteFile, not {str(kind)[:40]!r}.")
    valid = kind == "deleteFile" or re.fullmatch("[0-9a-f]{64}", str(operation.get("xetHash")))
    if not valid or not isinstance(mtime, int | float) or not 0 <= mtime < 1e14:
        raise HubError(400, "A file needs an xetHash of 64 hex digits and an mtime in milliseconds.")
    return operation | {"mtime": mtime}


def _described(request: HubRequest, bucket: RepoRow, path: Path) -> dict[str, Any]:
    name = path.relative_to(request.context.buckets.files(bucket).resolve()).as_posix()
    facts = path.stat(follow_symlinks=False)
    changed = written(facts.st_mtime)
    if path.is_dir():
        return {"type": "directory", "path": name, "uploadedAt": changed}
    return {
        "type": "file", "path": name, "size": facts.st_size, "xetHash": NO_HASH, "mtime": changed,
        "uploadedAt": changed,
    }  # fmt: skip


_BUCKET = f"/api/{BUCKETS}/{{namespace}}/{{name}}"
ROUTES = [
    route("POST", _BUCKET, create),
    route("GET", _BUCKET, details),
    route("DELETE", _BUCKET, delete),
    route("GET", f"{_BUCKET}/xet-write-token", write_token),
    route("POST", f"{_BUCKET}/batch", batch),
    route("GET", f"{_BUCKET}/tree", tree),
    route("GET", f"{_BUCKET}/tree/{{path:rest}}", tree),
    route("POST", f"{_BUCKET}/paths-info", paths_info),
    route("GET", f"/{BUCKETS}/{{namespace}}/{{name}}/resolve/{{path:rest}}", resolve),
]
