"""Writing content: preupload says how each file travels, commit puts all of them on a branch at once."""

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
from embedded_hub.request import Call, Here
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


def preupload(call: Call) -> Response:
    """For each file: large or regular, ignored or not, and what is there now, so that the client can skip it."""
    here = _to_write(call)
    head = here.git.head(_branch(call))
    if head is None:
        raise HubError(404, f"There is no branch {_branch(call)!r} in {here.address}.", "RevisionNotFound")
    files = call.json.get("files")
    if not isinstance(files, list) or len(files) > PREUPLOAD_FILES or not all(isinstance(one, dict) for one in files):
        raise HubError(400, f"The body should hold files: a list of at most {PREUPLOAD_FILES} objects.")
    is_large = _large_rule(here.git.text(head, ".gitattributes") or "")
    ignored = _ignore_rule(str(call.json.get("gitIgnore") or here.git.text(head, ".gitignore") or ""))
    paths = [checked_path(one.get("path")) for one in files]
    there = [entry for path in paths if (entry := here.git.at(head, path)) and not entry.folder]
    pointers = call.pointers(here, there)
    oids = {entry.path: pointers[entry.path].oid if entry.path in pointers else entry.oid for entry in there}
    answers = []
    for path, one in zip(paths, files, strict=True):
        large = is_large(path, _number(one.get("size")), _decoded(one.get("sample") or "", path))
        answer = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": ignored(path)}
        answers.append(answer | ({"oid": oids[path]} if path in oids else {}))
    return JSONResponse({"files": answers, "commitOid": head})


def commit(call: Call) -> Response:
    """Put one commit on a branch, or into a new pull request: all of it or nothing.

    The whole body is checked before anything is written.
    """
    here = _to_write(call)
    wanted = _parse(call, here)
    branch, author = _branch(call), call.who().user
    opened = None
    try:
        if call.flag("create_pr"):
            description = wanted.message.partition("\n")[2].strip()
            start, edits = wanted.parent, wanted.edits
            opened = open_pull_request(call, here, branch, start, edits, wanted.message, description, "open")
            oid = here.commit(opened.ref)
        else:
            oid, moved = here.git.commit(branch, wanted.edits, wanted.message, author, wanted.parent)
            announce.pushed(call.hub, here.row)
            if here.row.kind == "spaces" and branch == "main" and moved:
                call.hub.spaces.restart_if_wanted(here.row.id)
    except NoSuchBranch:
        raise HubError(404, f"There is no branch {branch!r} in {here.address}.", "RevisionNotFound") from None
    except StaleParent as tip:
        sentence = f"A commit has happened since: the parent is {wanted.parent}, but {branch} is at {tip}."
        raise HubError(412, sentence) from None
    except NoSuchPath as error:
        raise HubError(404, str(error), "EntryNotFound") from None
    except CannotEdit as error:
        raise HubError(400, str(error)) from None
    done = {"success": True, "commitOid": oid, "commitUrl": f"{call.base}/{here.address}/commit/{oid}"}
    return JSONResponse(done | ({"pullRequestUrl": address(call, here, opened)} if opened else {}))


def _to_write(call: Call) -> Here:
    """The repository, for who may write to it, or propose changes when the commit goes into a pull request."""
    if call.flag("create_pr"):
        return participant(call)
    if _branch(call).startswith(PULLS):
        here = participant(call)
        pull_request_to_write(call, here, _branch(call))
        return here
    return call.here("write")


@dataclass
class _Wanted:
    message: str = ""
    parent: str | None = None
    edits: list[Edit] = field(default_factory=list)


def _parse(call: Call, here: Here) -> _Wanted:
    wanted = _Wanted()
    for number, (key, value) in enumerate(_lines(call.body), 1):
        if (key == "header") != (number == 1):
            raise HubError(400, f"Line {number} of the commit is {key!r}: one header is expected, and first.")
        if key == "header":
            _header(wanted, value)
        elif key == "file":
            wanted.edits.append(_file(value))
        elif key == "lfsFile":
            wanted.edits.append(_large_file(call, here, value))
        elif key in ("deletedFile", "deletedFolder"):
            path = checked_path(str(value.get("path") or "").rstrip("/"))
            wanted.edits.append(Delete(path, folder=key == "deletedFolder"))
        else:
            raise HubError(400, f"Line {number} of the commit has the key {key!r}, which means nothing here.")
    if not wanted.message:
        raise HubError(400, "The commit has no summary.")
    return wanted


def _lines(body: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(BytesIO(body), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            key, value = found["key"], found["value"]
        except (ValueError, TypeError, KeyError):
            raise HubError(400, f"Line {number} of the commit is not JSON with key and value.") from None
        if not isinstance(value, dict):
            raise HubError(400, f"Line {number} of the commit has a value that is no object.")
        yield str(key), value


def _header(wanted: _Wanted, value: dict[str, Any]) -> None:
    summary, description = str(value.get("summary") or ""), str(value.get("description") or "")
    wanted.message = f"{summary}\n\n{description}".strip()
    wanted.parent = value.get("parentCommit") or None
    if wanted.parent is not None and not re.fullmatch("[0-9a-f]{40}", str(wanted.parent)):
        raise HubError(400, f"The parent commit {wanted.parent!r} is no commit id: 40 hex digits are expected.")


def _file(value: dict[str, Any]) -> Put:
    path, text = checked_path(value.get("path")), value.get("content")
    if not isinstance(text, str):
        raise HubError(400, f"The file {path!r} has no content.")
    content = _decoded(text, path) if value.get("encoding") == "base64" else text.encode(errors="replace")
    if path == "README.md":
        try:
            card_metadata.metadata(content.decode(errors="replace"))
        except card_metadata.BadCard as error:
            raise HubError(400, str(error)) from None
    return Put(path, content)


def _large_file(call: Call, here: Here, value: dict[str, Any]) -> Put:
    path, oid, size = checked_path(value.get("path")), str(value.get("oid")), value.get("size")
    if value.get("algo") != "sha256" or not re.fullmatch("[0-9a-f]{64}", oid):
        raise HubError(400, f"The large file {path!r} needs algo sha256 and an oid of 64 hex digits.")
    stored = call.hub.lfs.size(oid) if call.hub.accounts.granted(here.row, [oid]) else None
    if stored is None:
        raise HubError(400, f"The large file {path!r} was not uploaded to {here.address} before this commit.")
    if size is not None and size != stored:
        raise HubError(400, f"The large file {path!r} has {stored} bytes, not {size!r}.")
    call.hub.lfs.touch(oid)
    return Put(path, Pointer(oid, stored).text())


def _number(size: Any) -> int:
    return size if type(size) is int else 0


def _branch(call: Call) -> str:
    return call.param("revision").removeprefix(HEADS)


def checked_path(path: Any) -> str:
    """A path that git and every file system of a client can hold; 400 for all others."""
    parts = path.split("/") if isinstance(path, str) else [""]
    bad = any(part.lower() in ("", ".", "..", ".git") or len(part.encode(errors="replace")) > 255 for part in parts)
    if bad or len(path) > 1024 or "\\" in path or not path.isprintable():  # lone surrogates are not printable either
        raise HubError(400, f"{str(path)[:200]!r} cannot be the path of a file: it should be like folder/name.ext.")
    return str(path)


def _decoded(text: Any, path: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise HubError(400, f"The content of {path!r} is not base64.") from None


def _large_rule(gitattributes: str) -> Callable[[str, int, bytes], bool]:
    rows = parse_git_attributes(BytesIO(gitattributes.encode()))
    attributes = GitAttributes([(Pattern(pattern), found) for pattern, found in rows])

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
