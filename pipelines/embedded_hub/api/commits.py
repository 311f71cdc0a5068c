"""Writing content: preupload decides how each file is sent; commit puts all files on a branch at once."""

import base64
import binascii
import json
import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from dulwich.attrs import GitAttributes, Pattern, parse_git_attributes
from dulwich.ignore import IgnoreFilter, read_ignore_patterns
from starlette.responses import JSONResponse, Response

from embedded_hub.api.discussions import address, open_pull_request, participant, pull_request_to_write
from embedded_hub.errors import HubError
from embedded_hub.events import announce
from embedded_hub.request import HubRequest, OpenRepository
from embedded_hub.routing import route
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
    head = repository.git.head(branch)
    if head is None:
        raise HubError(404, f"There is no branch {branch!r} in {repository.address}.", "RevisionNotFound")
    files = request.json.get("files")
    if not isinstance(files, list) or len(files) > PREUPLOAD_FILES or not all(isinstance(file, dict) for file in files):
        raise HubError(400, f"The body should hold files: a list of at most {PREUPLOAD_FILES} objects.")
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
    """Put one commit on a branch or into a new pull request: all of it or nothing.

    The whole body is checked before anything is written.
    """
    repository, branch = _to_write(request), _branch(request)
    order = _parse(request, repository)
    pull_request = None
    try:
        if request.flag("create_pr"):
            description = order.message.partition("\n")[2].strip()
            pull_request = open_pull_request(
                request, repository, branch, order.parent, order.edits, order.message, description, "open"
            )
            oid = repository.commit(pull_request.ref)
        else:
            oid, moved = repository.git.commit(branch, order.edits, order.message, request.caller().user, order.parent)
            announce.pushed(request.context, repository.row)
            if repository.row.kind == "spaces" and branch == "main" and moved:
                request.context.spaces.restart_if_active(repository.row.id)
    except NoSuchBranch:
        raise HubError(404, f"There is no branch {branch!r} in {repository.address}.", "RevisionNotFound") from None
    except StaleParent as tip:
        sentence = f"A commit has happened since: the parent is {order.parent}, but {branch} is at {tip}."
        raise HubError(412, sentence) from None
    except NoSuchPath as error:
        raise HubError(404, str(error), "EntryNotFound") from None
    except CannotEdit as error:
        raise HubError(400, str(error)) from None
    url = f"{request.base_url}/{repository.address}/commit/{oid}"
    answer = {"success": True, "commitOid": oid, "commitUrl": url}
    return JSONResponse(
        answer | ({"pullRequestUrl": address(request, repository, pull_request)} if pull_request else {})
    )


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


@dataclass
class _Order:
    message: str = ""
    parent: str | None = None
    edits: list[Edit] = field(default_factory=list)


def _parse(request: HubRequest, repository: OpenRepository) -> _Order:
    order = _Order()
    for number, (key, value) in enumerate(_lines(request.body), 1):
        if (key == "header") != (number == 1):
            raise HubError(400, f"Line {number} of the commit is {key!r}: one header is expected, and first.")
        if key == "header":
            _header(order, value)
        elif key == "file":
            order.edits.append(_file(value))
        elif key == "lfsFile":
            order.edits.append(_large_file(request, repository, value))
        elif key in ("deletedFile", "deletedFolder"):
            path = checked_path(str(value.get("path") or "").rstrip("/"))
            order.edits.append(Delete(path, folder=key == "deletedFolder"))
        else:
            raise HubError(400, f"Line {number} of the commit has the unknown key {key!r}.")
    if not order.message:
        raise HubError(400, "The commit does not have a summary.")
    return order


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


def _header(order: _Order, header: dict[str, Any]) -> None:
    summary, description = str(header.get("summary") or ""), str(header.get("description") or "")
    order.message = f"{summary}\n\n{description}".strip()
    order.parent = header.get("parentCommit") or None
    if order.parent is not None and not re.fullmatch("[0-9a-f]{40}", str(order.parent)):
        raise HubError(400, f"The parent commit {order.parent!r} is not a commit id: 40 hex digits are expected.")


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
    return lambda path: any(rules.is_ignored(part) for part in _with_parents(path))


def _with_parents(path: str) -> list[str]:
    parts = path.split("/")
    return [*("/".join(parts[:n]) + "/" for n in range(1, len(parts))), path]


_REPO = "/api/{kind}/{namespace}/{name}"
ROUTES = [
    route("POST", f"{_REPO}/preupload/{{revision}}", preupload),
    route("POST", f"{_REPO}/commit/{{revision}}", commit, body_limit=COMMIT_BODY),
]
