"""Reading content: files with ranges, folders, single paths, the history."""

import mimetypes
import re
from collections.abc import Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote

from starlette.responses import FileResponse, JSONResponse, Response

from embedded_hub.clock import written
from embedded_hub.errors import HubError
from embedded_hub.request import Call, Here
from embedded_hub.routing import route
from embedded_hub.store.git_reader import CommitFacts, Entry
from embedded_hub.store.lfs import Pointer

PAGE_SIZE = 1000
COMMITS_PAGE_SIZE = 50


class LargeFile(FileResponse):
    """A file of the LFS store; a piece of 1 MiB is worth the change of thread that it costs."""

    chunk_size = 1 << 20


def resolve(call: Call) -> Response:
    """One file's bytes. The ETag is git's oid, or the sha256 of a large file, as on the Hub."""
    here, path = call.here(), call.param("path")
    commit = here.commit(call.param("revision"))
    entry = here.entry(commit, path)
    if entry.folder:
        raise HubError(404, f"{path!r} is a folder.", "EntryNotFound", {"X-Repo-Commit": commit})
    pointer = call.pointers(here, [entry]).get(path)
    etag = pointer.oid if pointer else entry.oid
    headers = {
        "X-Repo-Commit": commit,
        "ETag": f'"{etag}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-cache",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(path.rsplit('/', 1)[-1], safe='')}",
        # What somebody uploaded must not run as a page of this Hub.
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    kind = "text/plain; charset=utf-8" if kind.startswith("text/") else kind
    if pointer:
        return _large(call, here, path, pointer, headers, kind)
    return _ranged(call, here.git.read(entry.oid), headers, kind)


def tree(call: Call) -> Response:
    """What lies in a folder, or with `recursive` anywhere below it, page by page."""
    here = call.here()
    commit = here.commit(call.param("revision"))
    folder = here.entry(commit, call.request.path_params.get("path", "").strip("/"))
    if not folder.folder:
        raise HubError(404, f"{folder.path!r} is a file.", "EntryNotFound", {"X-Repo-Commit": commit})
    start, size = call.number("cursor", 0), _size(call, PAGE_SIZE)
    entries = here.git.below(folder) if call.flag("recursive") else iter(here.git.children(folder))
    page = list(islice(entries, start, start + size + 1))
    headers = {"X-Repo-Commit": commit} | (call.next_page("cursor", start + size) if len(page) > size else {})
    return JSONResponse(_described(call, here, commit, page[:size], call.flag("expand")), headers=headers)


def paths_info(call: Call) -> Response:
    """The same for single paths; those that are not there are left out."""
    here = call.here()
    commit = here.commit(call.param("revision"))
    paths = [path.strip("/") for path in call.form.get("paths", [])]
    entries = [entry for path in paths if path and (entry := here.git.at(commit, path))]
    expand = "".join(call.form.get("expand", [])[:1]).lower() in ("1", "true")
    return JSONResponse(_described(call, here, commit, entries, expand))


def history(call: Call) -> Response:
    """The commits that led to a revision, newest first."""
    here, query = call.here(), call.request.query_params
    page, size = call.number("p", 0), _size(call, COMMITS_PAGE_SIZE)
    commits = here.git.history(here.commit(call.param("revision")))
    found = list(islice(commits, page * size, (page + 1) * size + 1))
    headers = call.next_page("p", page + 1) if len(found) > size else {}
    formatted = "formatted" in query.getlist("expand[]") + query.getlist("expand")
    return JSONResponse([_commit(facts, formatted) for facts in found[:size]], headers=headers)


def _size(call: Call, default: int) -> int:
    return min(max(call.number("limit", default), 1), PAGE_SIZE)


def _described(call: Call, here: Here, commit: str, entries: Sequence[Entry], expand: bool) -> list[dict[str, Any]]:
    pointers = call.pointers(here, entries)
    changes = here.git.last_change(commit, [entry.path for entry in entries]) if expand else {}
    found = []
    for entry in entries:
        one: dict[str, Any] = {"type": "directory" if entry.folder else "file", "oid": entry.oid, "path": entry.path}
        pointer = pointers.get(entry.path)
        one["size"] = pointer.size if pointer else entry.size
        if pointer:
            one["lfs"] = {"oid": pointer.oid, "size": pointer.size, "pointerSize": entry.size}
        if entry.path in changes:
            facts = changes[entry.path]
            one["lastCommit"] = {"id": facts.oid, "title": _title(facts), "date": written(facts.when)}
        found.append(one)
    return found


def _commit(facts: CommitFacts, formatted: bool) -> dict[str, Any]:
    title, _, message = facts.message.partition("\n")
    found: dict[str, Any] = {"id": facts.oid, "title": title, "message": message.strip(), "date": written(facts.when)}
    found["authors"] = [{"user": facts.author}]
    return found | ({"formatted": {"title": title, "message": message.strip()}} if formatted else {})


def _title(facts: CommitFacts) -> str:
    return facts.message.partition("\n")[0]


def _large(call: Call, here: Here, path: str, pointer: Pointer, headers: dict[str, str], kind: str) -> Response:
    if not call.hub.lfs.has(pointer):
        raise HubError(500, f"The large file {path!r} of {here.address} is missing from this Hub's data directory.")
    headers |= {"X-Linked-Etag": f'"{pointer.oid}"', "X-Linked-Size": str(pointer.size)}
    return LargeFile(call.hub.lfs.path(pointer.oid), headers=headers, media_type=kind)


def _ranged(call: Call, data: bytes, headers: dict[str, str], kind: str) -> Response:
    wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", call.request.headers.get("range", "").strip())
    if not wanted or wanted.groups() == ("", ""):
        return Response(data, headers=headers, media_type=kind)
    first, last = wanted.groups()
    start = int(first) if first else max(len(data) - int(last), 0)
    end = min(int(last) + 1, len(data)) if first and last else len(data)
    if start >= len(data) or (first and last and int(last) < start):
        sentence = f"The file has {len(data)} bytes, so there is nothing at {wanted[0]}."
        raise HubError(416, sentence, headers={"Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
    return Response(data[start:end], 206, headers, kind)


_REPO = "/api/{kind}/{namespace}/{name}"
ROUTES = [
    route("GET", "/{prefix}{namespace}/{name}/resolve/{revision}/{path:rest}", resolve),
    route("GET", f"{_REPO}/tree/{{revision}}", tree),
    route("GET", f"{_REPO}/tree/{{revision}}/{{path:rest}}", tree),
    route("POST", f"{_REPO}/paths-info/{{revision}}", paths_info),
    route("GET", f"{_REPO}/commits/{{revision}}", history),
]
