"""Writing content: preupload decides how each file is sent; commit puts all files on a branch at once."""

import base64
import binascii
import json
import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

from dulwich.attrs import GitAttributes, Pattern, parse_git_attributes
from dulwich.ignore import IgnoreFilter, read_ignore_patterns
from starlette.responses import JSONResponse, Response

from embedded_hub.api.discussions import address, open_pull_request, participant, pull_request_to_write
from embedded_hub.errors import HubError
from embedded_hub.events import announce
from embedded_hub.request import HubRequest, OpenRepository, objects
from embedded_hub.routing import REPO, route
from embedded_hub.store import card_metadata
from embedded_hub.store.git_reader import HEADS, PULLS
from embedded_hub.store.git_repository import NoSuchBranch, StaleParent
from embedded_hub.store.git_tree import CannotEdit, Delete, Edit, NoSuchPath, Put
from embedded_hub.store.lfs import Pointer

REGULAR_LIMIT = 10 << 20
COMMIT_BODY = 256 << 20
ALWAYS_REGULAR = ("README.md", ".gitattributes", ".gitignore")
PREUPLOAD_FILES = 1000


def preupload(request: HubRequest) -> Response:
    """Return for each file whether it is large, whether it is ignored, and its current oid."""
    repository, branch = _to_write(request), _branch(request)
    head, files = repository.head(branch), objects(request.json, "files", PREUPLOAD_FILES)
    is_large = _large_rule(repository.git.text(head, ".gitattributes") or "")
    ignored = _ignore_rule(str(request.json.get("gitIgnore") or repository.git.text(head, ".gitignore") or ""))
    paths = [checked_path(file.get("path")) for file in files]
    present = [entry for path in paths if (entry := repository.git.at(head, path)) and not entry.folder]
    pointers = request.pointers(repository, present)
    oids = {entry.path: pointers[entry.path].oid if entry.path in pointers else entry.oid for entry in present}
    answers = []
    for path, file in zip(paths, files, strict=True):
        size = file["size"] if type(file.get("size")) is int else 0
        large = is_large(path, size, _decoded(file.get("sample") or "", path))
        answer = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": ignored(path)}
        answers.append(answer | ({"oid": oids[path]} if path in oids else {}))
    return JSONResponse({"files": answers, "commitOid": head})


def commit(request: HubRequest) -> Response:
    """Put one commit, all or nothing, on a branch or into a new pull request. The body is checked before any write."""
    repository, branch = _to_write(request), _branch(request)
    message, parent, edits = _parse(request, repository)
    answer: dict[str, Any] = {"success": True}
    try:
        if request.flag("create_pr"):
            description = message.partition("\n")[2].strip()
            pull_request = open_pull_request(request, repository, branch, parent, edits, message, description, "open")
            answer["pullRequestUrl"] = address(request, repository, pull_request)
            oid = repository.commit(pull_request.ref)
        else:
            oid, moved = repository.git.commit(branch, edits, message, request.caller().user, parent)
            announce.pushed(request.context, repository.row)
            if repository.row.kind == "spaces" and branch == "main" and moved:
                request.context.spaces.restart_if_active(repository.row.id)
    except NoSuchBranch:
        raise HubError(404, f"There is no branch {branch!r} in {repository.address}.", "RevisionNotFound") from None
    except StaleParent as tip:
        sentence = f"A commit has happened since: the parent is {parent}, but {branch} is at {tip}."
        raise HubError(412, sentence) from None
    except NoSuchPath as error:
        raise HubError(404, str(error), "EntryNotFound") from None
    except CannotEdit as error:
        raise HubError(400, str(error)) from None
    url = f"{request.base_url}/{repository.address}/commit/{oid}"
    return JSONResponse(answer | {"commitOid": oid, "commitUrl": url})


def _to_write(request: HubRequest) -> OpenRepository:
    """Return the repository if the caller may write to it; for a pull request, if it may propose changes."""
    branch = _branch(request)
    if request.flag("create_pr"):
        return participant(request)
    if branch.startswith(PULLS):
        repository = participant(request)
        pull_request_to_write(request, repository, branch)
        return repository
    return request.repository("write")


def _parse(request: HubRequest, repository: OpenRepository) -> tuple[str, str | None, list[Edit]]:
    """Return the message, the required parent and the edits of the body."""
    message, parent, edits = "", None, list[Edit]()
    for number, (key, value) in enumerate(_lines(request.body), 1):
        if (key == "header") != (number == 1):
            raise HubError(400, f"Line {number} of the commit is {key!r}: one header is expected, and first.")
        if key == "header":
            message, parent = _header(value)
        elif key == "file":
            edits.append(_file(value))
        elif key == "lfsFile":
            edits.append(_large_file(request, repository, value))
        elif key in ("deletedFile", "deletedFolder"):
            path = checked_path(str(value.get("path") or "").rstrip("/"))
            edits.append(Delete(path, folder=key == "deletedFolder"))
        else:
            raise HubError(400, f"Line {number} of the commit has the unknown key {key!r}.")
    if not message:
        raise HubError(400, "The commit does not have a summary.")
    return message, parent, edits


def _lines(body: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(BytesIO(body), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            key, value = record["key"], record["value"]
        except (ValueError, TypeError, KeyError):
            raise HubError(400, f"Line {number} of the commit is not JSON with key and value.") from None
        if not isinstance(value, dict):
            raise HubError(400, f"Line {number} of the commit has a value that is not an object.")
        yield str(key), value


def _header(header: dict[str, Any]) -> tuple[str, str | None]:
    summary, description = str(header.get("summary") or ""), str(header.get("description") or "")
    parent = header.get("parentCommit") or None
    if parent is not None and not re.fullmatch("[0-9a-f]{40}", str(parent)):
        raise HubError(400, f"The parent commit {parent!r} is not a commit id: 40 hex digits are expected.")
    return f"{summary}\n\n{description}".strip(), parent


def _file(file: dict[str, Any]) -> Put:
    path, text = checked_path(file.get("path")), file.get("content")
    if not isinstance(text, str):
        raise HubError(400, f"The file {path!r} does not have a content.")
    content = _decoded(text, path) if file.get("encoding") == "base64" else text.encode(errors="replace")
    if path == "README.md":
        try:
            card_metadata.metadata(content.decode(errors="replace"))
        except card_metadata.BadCard as error:
            raise HubError(400, str(error)) from None
    return Put(path, content)


def _large_file(request: HubRequest, repository: OpenRepository, file: dict[str, Any]) -> Put:
    path, oid, size, lfs = checked_path(file.get("path")), str(file.get("oid")), file.get("size"), request.context.lfs
    if file.get("algo") != "sha256" or not re.fullmatch("[0-9a-f]{64}", oid):
        raise HubError(400, f"The large file {path!r} needs algo sha256 and an oid of 64 hex digits.")
    stored_size = lfs.size(oid) if request.context.accounts.granted(repository.row, [oid]) else None
    if stored_size is None:
        raise HubError(400, f"The large file {path!r} was not uploaded to {repository.address} before this commit.")
    if size is not None and size != stored_size:
        raise HubError(400, f"The large file {path!r} has {stored_size} bytes, not {size!r}.")
    lfs.touch(oid)
    return Put(path, Pointer(oid, stored_size).text())


def _branch(request: HubRequest) -> str:
    return request.param("revision").removeprefix(HEADS)


_FORBIDDEN = re.compile("[\\\\\0-\x1f\x7f-\x9f\ud800-\udfff]")
"""Backslashes, control characters and lone surrogates."""


def checked_path(path: Any) -> str:
    """Return `path` if git and every client's file system can hold it; 400 otherwise."""
    parts = path.split("/") if isinstance(path, str) else [""]
    bad = any(part.lower() in ("", ".", "..", ".git") or len(part.encode(errors="replace")) > 255 for part in parts)
    if bad or len(path) > 1024 or _FORBIDDEN.search(path):
        raise HubError(400, f"{str(path)[:200]!r} cannot be the path of a file: it should be like folder/name.ext.")
    return str(path)


def _decoded(text: Any, path: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise HubError(400, f"The content of {path!r} is not base64.") from None


def _large_rule(gitattributes: str) -> Callable[[str, int, bytes], bool]:
    rows = parse_git_attributes(BytesIO(gitattributes.encode()))
    attributes = GitAttributes([(Pattern(pattern), settings) for pattern, settings in rows])

    def is_large(path: str, size: int, sample: bytes) -> bool:
        if path in ALWAYS_REGULAR or not size:
            return False
        return size > REGULAR_LIMIT or attributes.match_path(path.encode()).get(b"filter") == b"lfs" or _binary(sample)

    return is_large


def _binary(sample: bytes) -> bool:
    try:
        getincrementaldecoder("utf-8")().decode(sample)  # a character may be cut at the sample's end
    except UnicodeDecodeError:
        return True
    return b"\0" in sample


def _ignore_rule(gitignore: str) -> Callable[[str], bool]:
    rules = IgnoreFilter(read_ignore_patterns(BytesIO(gitignore.encode())))

    def ignored(path: str) -> bool:
        folders = [f"{folder}/" for folder in PurePosixPath(path).parents if folder.name]
        return any(rules.is_ignored(part) for part in (*folders, path))

    return ignored


ROUTES = [
    route("POST", f"{REPO}/preupload/{{revision}}", preupload),
    route("POST", f"{REPO}/commit/{{revision}}", commit, body_limit=COMMIT_BODY),
]
