"""Buckets, as far as Jobs need them: make, fill, list and read them. Files arrive by Xet and leave by plain HTTP."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from starlette.responses import FileResponse, JSONResponse, Response

from embedded_hub.api.commits import checked_path
from embedded_hub.api.xet import token_for
from embedded_hub.database.accounts import NameTaken, RepoRow, valid_name, valid_namespace
from embedded_hub.errors import HubError
from embedded_hub.request import Call
from embedded_hub.routing import route
from embedded_hub.store.buckets import BUCKETS

OPERATIONS = 1000
PAGE_SIZE = 1000
NO_HASH = "0" * 64
"""A job may have written the file, so that nobody knows its hash."""


def create(call: Call) -> Response:
    """Make an empty bucket."""
    namespace, name = _owner(call), call.param("name")
    if not valid_name(name) or not valid_namespace(namespace):
        raise HubError(400, f"{namespace}/{name} is no name of a bucket.")
    if not call.who().may_write(namespace):
        raise HubError(403, f"The token {call.who().token_name!r} may not create buckets under {namespace}.")
    visibility = call.json.get("visibility") or "public"
    if visibility not in ("public", "private"):
        raise HubError(400, f"The visibility {str(visibility)[:40]!r} is not known: public or private is expected.")
    url = f"{call.base}/{BUCKETS}/{namespace}/{name}"
    try:
        call.hub.accounts.add_repo(BUCKETS, namespace, name, visibility == "private", None)
    except NameTaken:
        raise HubError(409, f"There is a bucket {namespace}/{name} already.", url=url) from None
    return JSONResponse({"url": url})


def details(call: Call) -> Response:
    """What is known of a bucket."""
    bucket = find(call, _owner(call), call.param("name"))
    sizes = [path.stat().st_size for path in call.hub.buckets.below(bucket, "") if path.is_file()]
    known = {"id": bucket.full_name, "private": bucket.private, "createdAt": bucket.created}
    return JSONResponse(known | {"size": sum(sizes), "totalFiles": len(sizes)})


def delete(call: Call) -> Response:
    """Delete a bucket."""
    bucket = find(call, _owner(call), call.param("name"), "write")
    call.hub.accounts.remove_repo(bucket)
    call.hub.buckets.discard(bucket)
    return JSONResponse({})


def write_token(call: Call) -> Response:
    """Where to send the content of files."""
    return token_for(call, find(call, _owner(call), call.param("name"), "write"))


def batch(call: Call) -> Response:
    """Give what was uploaded its paths, delete others; what could not be done is listed."""
    bucket = find(call, _owner(call), call.param("name"), "write")
    lines = [line for line in call.body.split(b"\n") if line.strip()]
    if not 0 < len(lines) <= OPERATIONS:
        raise HubError(400, f"A batch has 1 to {OPERATIONS} operations, not {len(lines)}.")
    operations = [_operation(line) for line in lines]
    failed = []
    for one in operations:
        try:
            if one["type"] == "deleteFile":
                call.hub.buckets.remove(bucket, one["path"])
            else:
                call.hub.buckets.place(bucket, one["xetHash"], one["path"], one["mtime"] / 1000)
        except OSError as error:
            failed.append({"path": one["path"], "error": error.strerror or str(error)})
    succeeded = len(operations) - len(failed)
    status = 422 if failed and not succeeded else 200
    return JSONResponse({"success": not failed, "succeeded": succeeded, "failed": failed}, status)


def tree(call: Call) -> Response:
    """What lies in a bucket or a folder of it, page by page."""
    bucket = find(call, _owner(call), call.param("name"))
    prefix = call.request.path_params.get("path", "").strip("/")
    where = _path(call, bucket, prefix) if prefix else call.hub.buckets.files(bucket)
    found = sorted(where.rglob("*") if call.flag("recursive") else where.glob("*"))
    start, size = call.number("cursor", 0), min(max(call.number("limit", PAGE_SIZE), 1), PAGE_SIZE)
    page = [_described(call, bucket, path) for path in found[start : start + size]]
    return JSONResponse(page, headers=call.next_page("cursor", start + size) if start + size < len(found) else {})


def paths_info(call: Call) -> Response:
    """What is known of some files; those that are not there are left out."""
    bucket = find(call, _owner(call), call.param("name"))
    found = [_path(call, bucket, path) for path in call.form.get("paths", [])[:OPERATIONS]]
    return JSONResponse([_described(call, bucket, path) for path in found if path.is_file()])


def resolve(call: Call) -> Response:
    """A file's bytes."""
    path = _path(call, find(call, call.param("namespace"), call.param("name")), call.param("path"))
    if not path.is_file():
        raise HubError(404, f"There is no file {call.param('path')!r} in this bucket.", "EntryNotFound")
    headers = {"Content-Security-Policy": "default-src 'none'; sandbox", "X-Content-Type-Options": "nosniff"}
    return FileResponse(path, headers=headers, media_type="application/octet-stream")


def find(call: Call, namespace: str, name: str, need: Literal["read", "write"] = "read") -> RepoRow:
    """The bucket of that name; not there for those who may not see it; 403 without the right to write."""
    bucket = call.hub.accounts.repo(BUCKETS, namespace, name)
    if bucket is None or not call.may_read(bucket):
        raise call.not_found(BUCKETS, namespace, name)
    if need == "write" and not call.who().may_write(bucket.namespace):
        raise HubError(403, f"The token {call.who().token_name!r} may not write to the bucket {bucket.full_name}.")
    return bucket


def check_volumes(call: Call, volumes: list[dict[str, Any]]) -> None:
    """Refuse volumes that the caller may not use."""
    for one in volumes:
        namespace, _, name = str(one["source"]).partition("/")
        find(call, namespace, name, "read" if one.get("readOnly") else "write")


def _owner(call: Call) -> str:
    return call.who().user if call.param("namespace") == "me" else call.param("namespace")


def _path(call: Call, bucket: RepoRow, path: str) -> Path:
    try:
        return call.hub.buckets.path(bucket, checked_path(path))
    except PermissionError as error:
        raise HubError(403, f"{error}.") from None


def _operation(line: bytes) -> dict[str, Any]:
    try:
        one: dict[str, Any] = json.loads(line)
        kind, mtime = one["type"], one.get("mtime", 0)
        one["path"] = checked_path(one["path"])
    except (ValueError, TypeError, KeyError):
        raise HubError(400, "A line of the batch is no JSON object with type and path.") from None
    if kind not in ("addFile", "deleteFile"):
        raise HubError(501, f"Buckets here know addFile and deleteFile, no {str(kind)[:40]!r}.")
    good = kind == "deleteFile" or re.fullmatch("[0-9a-f]{64}", str(one.get("xetHash")))
    if not good or not isinstance(mtime, int | float) or not 0 <= mtime < 1e14:
        raise HubError(400, "A file needs an xetHash of 64 hex digits and an mtime in milliseconds.")
    return one | {"mtime": mtime}


def _described(call: Call, bucket: RepoRow, path: Path) -> dict[str, Any]:
    name = path.relative_to(call.hub.buckets.files(bucket).resolve()).as_posix()
    facts = path.stat(follow_symlinks=False)
    when = datetime.fromtimestamp(facts.st_mtime, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if path.is_dir():
        return {"type": "directory", "path": name, "uploadedAt": when}
    return {"type": "file", "path": name, "size": facts.st_size, "xetHash": NO_HASH, "mtime": when, "uploadedAt": when}


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
