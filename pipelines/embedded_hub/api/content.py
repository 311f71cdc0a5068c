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
from embedded_hub.request import HubRequest, OpenRepository
from embedded_hub.routing import REPO, route
from embedded_hub.store.git_reader import CommitFacts, Entry

PAGE_SIZE = 1000
COMMITS_PAGE_SIZE = 50


class LargeFile(FileResponse):
    """A file of the LFS store; a piece of 1 MiB is worth the change of thread that it costs."""

    chunk_size = 1 << 20


def resolve(request: HubRequest) -> Response:
    """Return one file's bytes. The ETag is git's oid, or the sha256 of a large file, as on the Hub."""
    repository, path = request.repository(), request.param("path")
    commit = repository.commit(request.param("revision"))
    entry = repository.entry(commit, path)
    if entry.folder:
        raise HubError(404, f"{path!r} is a folder.", "EntryNotFound", {"X-Repo-Commit": commit})
    pointer = request.pointers(repository, [entry]).get(path)
    headers = {
        "X-Repo-Commit": commit,
        "ETag": f'"{pointer.oid if pointer else entry.oid}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-cache",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(path.rsplit('/', 1)[-1], safe='')}",
        # Uploaded content must not run as a page of this Hub.
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    if headers["ETag"] in re.split(r"\s*,\s*", request.http.headers.get("if-none-match", "").replace("W/", "")):
        return Response(status_code=304, headers=headers)
    media_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
    media_type = "text/plain; charset=utf-8" if media_type.startswith("text/") else media_type
    if pointer is None:
        return _ranged(request, repository.git.read(entry.oid), headers, media_type)
    if not request.context.lfs.has(pointer):
        raise HubError(500, f"The large file {path!r} of {repository.address} is missing from the data directory.")
    headers |= {"X-Linked-Etag": f'"{pointer.oid}"', "X-Linked-Size": str(pointer.size)}
    return LargeFile(request.context.lfs.path(pointer.oid), headers=headers, media_type=media_type)


def tree(request: HubRequest) -> Response:
    """List a folder, or with `recursive` everything below it, page by page."""
    repository = request.repository()
    commit = repository.commit(request.param("revision"))
    folder = repository.entry(commit, request.http.path_params.get("path", "").strip("/"))
    if not folder.folder:
        raise HubError(404, f"{folder.path!r} is a file.", "EntryNotFound", {"X-Repo-Commit": commit})
    entries = repository.git.below(folder) if request.flag("recursive") else repository.git.children(folder)
    page, headers = request.page(entries, PAGE_SIZE)
    rows = _described(request, repository, commit, page, request.flag("expand"))
    return JSONResponse(rows, headers=headers | {"X-Repo-Commit": commit})


def paths_info(request: HubRequest) -> Response:
    """Describe single paths as `tree` does; missing ones are omitted."""
    repository = request.repository()
    commit = repository.commit(request.param("revision"))
    paths = [path.strip("/") for path in request.form.get("paths", [])]
    entries = [entry for path in paths if path and (entry := repository.git.at(commit, path))]
    expand = "".join(request.form.get("expand", [])[:1]).lower() in ("1", "true")
    return JSONResponse(_described(request, repository, commit, entries, expand))


def history(request: HubRequest) -> Response:
    """List the commits of a revision, newest first."""
    repository, query = request.repository(), request.http.query_params
    number, size = request.number("p", 0), request.limit(COMMITS_PAGE_SIZE, PAGE_SIZE)
    commits = repository.git.history(repository.commit(request.param("revision")))
    page = list(islice(commits, number * size, (number + 1) * size + 1))
    headers = request.next_page("p", number + 1) if len(page) > size else {}
    formatted = "formatted" in query.getlist("expand[]") + query.getlist("expand")
    return JSONResponse([_commit(facts, formatted) for facts in page[:size]], headers=headers)


def _described(
    request: HubRequest, repository: OpenRepository, commit: str, entries: Sequence[Entry], expand: bool
) -> list[dict[str, Any]]:
    pointers = request.pointers(repository, entries)
    changes = repository.git.last_change(commit, [entry.path for entry in entries]) if expand else {}
    rows = []
    for entry in entries:
        row: dict[str, Any] = {"type": "directory" if entry.folder else "file", "oid": entry.oid, "path": entry.path}
        pointer = pointers.get(entry.path)
        row["size"] = pointer.size if pointer else entry.size
        if pointer:
            row["lfs"] = {"oid": pointer.oid, "size": pointer.size, "pointerSize": entry.size}
        if entry.path in changes:
            facts = changes[entry.path]
            title = facts.message.partition("\n")[0]
            row["lastCommit"] = {"id": facts.oid, "title": title, "date": written(facts.when)}
        rows.append(row)
    return rows


def _commit(facts: CommitFacts, formatted: bool) -> dict[str, Any]:
    title, _, message = facts.message.partition("\n")
    text = {"title": title, "message": message.strip()}
    commit: dict[str, Any] = {"id": facts.oid, **text, "date": written(facts.when), "authors": [{"user": facts.author}]}
    return commit | ({"formatted": text} if formatted else {})


def _ranged(request: HubRequest, content: bytes, headers: dict[str, str], media_type: str) -> Response:
    byte_range = re.fullmatch(r"bytes=(\d*)-(\d*)", request.http.headers.get("range", "").strip())
    if not byte_range or byte_range.groups() == ("", ""):
        return Response(content, headers=headers, media_type=media_type)
    first, last = byte_range.groups()
    start = int(first) if first else max(len(content) - int(last), 0)
    end = min(int(last) + 1, len(content)) if first and last else len(content)
    if start >= len(content) or (first and last and int(last) < start):
        sentence = f"The file has {len(content)} bytes, so there is nothing at {byte_range[0]}."
        raise HubError(416, sentence, headers={"Content-Range": f"bytes */{len(content)}"})
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
    return Response(content[start:end], 206, headers, media_type)


ROUTES = [
    route("GET", "/{prefix}{namespace}/{name}/resolve/{revision}/{path:rest}", resolve),
    route("GET", f"{REPO}/tree/{{revision}}", tree),
    route("GET", f"{REPO}/tree/{{revision}}/{{path:rest}}", tree),
    route("POST", f"{REPO}/paths-info/{{revision}}", paths_info),
    route("GET", f"{REPO}/commits/{{revision}}", history),
]
