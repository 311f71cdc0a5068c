"""Discussions and pull requests, as far as clients use them: open, read, comment, rename, close, merge."""

import html
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.responses import JSONResponse, Response

from embedded_hub.api import pull_request
from embedded_hub.clock import now, written
from embedded_hub.database.discussions import Discussion, Event, Status
from embedded_hub.errors import HubError
from embedded_hub.events import announce
from embedded_hub.request import HubRequest, OpenRepository
from embedded_hub.routing import REPO, route
from embedded_hub.store.git_reader import PULLS
from embedded_hub.store.git_repository import NoSuchBranch, StaleParent
from embedded_hub.store.git_tree import Edit

PAGE_SIZE = 50
TITLE, COMMENT = 200, 65536
"""Most characters."""


def listing(request: HubRequest) -> Response:
    """List the discussions of a repository, the newest first, page by page."""
    repository, query = request.repository(), request.http.query_params
    rows = request.context.discussions.all(repository.row.id)
    if query.get("type") in ("discussion", "pull_request"):
        rows = [row for row in rows if bool(row.base) == (query["type"] == "pull_request")]
    if query.get("status") in ("open", "closed"):
        rows = [row for row in rows if (row.status in ("open", "draft")) == (query["status"] == "open")]
    if query.get("author"):
        rows = [row for row in rows if row.author.lower() == query["author"].lower()]
    start = request.number("p", 0) * PAGE_SIZE
    page = [_summary(repository, row) for row in rows[start : start + PAGE_SIZE]]
    return JSONResponse({"discussions": page, "count": len(rows), "start": start})


def details(request: HubRequest) -> Response:
    """Return one discussion with its events; for a pull request also its changes."""
    repository = request.repository()
    discussion = _find(request, repository)
    answer = _summary(repository, discussion)
    answer["events"] = [_event(event) for event in _events(request, repository, discussion)]
    if discussion.base:
        tip = repository.git.head(discussion.base) or discussion.start or ""
        unmerged = discussion.status in ("open", "draft")
        merged = {"mergeCommitId": discussion.merged} if discussion.merged else {}
        answer["changes"] = {"base": f"refs/heads/{discussion.base}"} | merged
        answer["filesWithConflicts"] = pull_request.conflicts(repository.git, discussion, tip) if unmerged else []
        if request.flag("diff"):
            answer["diff"] = pull_request.diff(repository.git, discussion)
    return JSONResponse(answer)


def create(request: HubRequest) -> Response:
    """Open a discussion, or an empty pull request."""
    repository = participant(request)
    title = _text(request, "title", TITLE)
    description = _text(request, "description", COMMENT, optional=True)
    if request.json.get("pullRequest"):
        discussion = open_pull_request(request, repository, "main", None, [], title, description, "draft")
    else:
        discussion = _open(request, repository, title, description, "open")
    url = address(request, repository, discussion)
    return JSONResponse({"num": discussion.num, "url": url, "pullRequest": bool(discussion.base)})


def comment(request: HubRequest) -> Response:
    """Add a comment."""
    repository = participant(request)
    discussion = _find(request, repository)
    event = _add_comment(request, discussion, _text(request, "comment", COMMENT))
    announce.discussed(request.context, repository.row, discussion, "comment", event)
    return JSONResponse({"newMessage": _event(event)})


def rename(request: HubRequest) -> Response:
    """Change a discussion's title."""
    repository = participant(request)
    discussion = own(request, repository, _find(request, repository))
    title = _text(request, "title", TITLE)
    request.context.discussions.set_title(discussion, title)
    announce.discussed(request.context, repository.row, _find(request, repository), "update")
    change = {"from": discussion.title, "to": title}
    event = request.context.discussions.add_event(discussion, "title-change", request.caller().user, change)
    return JSONResponse({"newTitle": _event(event)})


def change_status(request: HubRequest) -> Response:
    """Close a discussion or open it again."""
    repository = participant(request)
    discussion = own(request, repository, _find(request, repository))
    status = request.json.get("status")
    if status not in ("open", "closed"):
        raise HubError(400, f"The status {status!r} cannot be set: open or closed is expected.")
    if discussion.status == "merged":
        raise HubError(400, f"Pull request {discussion.num} is merged, which cannot be undone.")
    event = _set_status(request, discussion, status)
    announce.discussed(request.context, repository.row, _find(request, repository), "update")
    return JSONResponse({"newStatus": _event(event)})


def merge(request: HubRequest) -> Response:
    """Put the changes of a pull request on its branch, in one commit."""
    repository = request.repository("write")
    discussion = _find(request, repository)
    if not discussion.base or discussion.status != "open":
        state = f"a {discussion.status} pull request" if discussion.base else "not a pull request"
        raise HubError(400, f"Discussion {discussion.num} is {state}: only an open pull request can be merged.")
    merged = _merge_commit(request, repository, discussion)
    _set_status(request, discussion, "merged", merged)
    announce.pushed(request.context, repository.row)
    announce.discussed(request.context, repository.row, _find(request, repository), "update")
    return JSONResponse({"mergeCommitId": merged})


def participant(request: HubRequest) -> OpenRepository:
    """Return the repository if the caller sees it and its token may write anywhere; 403 otherwise."""
    repository = request.repository()
    request.writer()
    return repository


def own(request: HubRequest, repository: OpenRepository, discussion: Discussion) -> Discussion:
    """Return the discussion if the caller is its author or may write to the repository; 403 otherwise."""
    caller = request.caller()
    if discussion.author != caller.user and not caller.may_write(repository.row.namespace):
        raise HubError(403, f"Discussion {discussion.num} belongs to {discussion.author}.")
    return discussion


def pull_request_to_write(request: HubRequest, repository: OpenRepository, ref: str) -> Discussion:
    """Return the pull request of `refs/pr/N` if the caller may add commits to it."""
    discussion = _numbered(request, repository, ref.removeprefix(PULLS))
    if discussion is None or not discussion.base:
        raise HubError(404, f"There is no pull request {ref} in {repository.address}.", "RevisionNotFound")
    if own(request, repository, discussion).status not in ("open", "draft"):
        raise HubError(400, f"Pull request {discussion.num} is {discussion.status}: reopen it or open another one.")
    return discussion


def open_pull_request(
    request: HubRequest, repository: OpenRepository, base: str, start: str | None, edits: list[Edit],
    message: str, description: str, status: Status,
) -> Discussion:  # fmt: skip
    """Open a pull request to the branch `base` with one commit on top of `start` (by default the branch's tip)."""
    tip, title = repository.head(base), message.partition("\n")[0].strip()[:TITLE]
    start = repository.commit(start) if start else tip
    propose = partial(repository.git.propose, start=start, edits=edits, message=message, author=request.caller().user)
    return _open(request, repository, title, description, status, base, start, propose)


def address(request: HubRequest, repository: OpenRepository, discussion: Discussion) -> str:
    """Return the discussion's address for people."""
    return f"{request.base_url}/{repository.address}/discussions/{discussion.num}"


def _open(
    request: HubRequest, repository: OpenRepository, title: str, description: str, status: Status,
    base: str | None = None, start: str | None = None, propose: Callable[[int], str] | None = None,
) -> Discussion:  # fmt: skip
    """Open a discussion, or the pull request whose ref `propose` creates."""
    user, row, discussions = request.caller().user, repository.row, request.context.discussions
    with discussions.opening:
        refs = [int(name) for name in repository.git.refs(PULLS) if name.isdigit()]  # a kill may have left a ref alone
        number = max([discussions.last(row.id), *refs]) + 1
        if propose:
            propose(number)
        discussion = Discussion(row.id, number, title, user, now(), status, base, start, None)
        discussions.add(discussion)
    announce.pushed(request.context, row)
    first = _add_comment(request, discussion, description)
    announce.discussed(request.context, row, discussion, "create", first)
    return discussion


def _numbered(request: HubRequest, repository: OpenRepository, number: str) -> Discussion | None:
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        return None
    return request.context.discussions.get(repository.row.id, int(number))


def _find(request: HubRequest, repository: OpenRepository) -> Discussion:
    discussion = _numbered(request, repository, request.param("num"))
    if discussion is None:
        raise HubError(404, f"There is no discussion {request.param('num')} in {repository.address}.")
    return discussion


def _merge_commit(request: HubRequest, repository: OpenRepository, discussion: Discussion) -> str:
    """Commit the merge and return its id, also if the branch moves meanwhile."""
    base, git = discussion.base or "", repository.git
    message = f"{discussion.title} (#{discussion.num})"
    while True:
        tip = git.head(base)
        if tip is None:
            raise HubError(404, f"The branch {base!r} was deleted.", "RevisionNotFound")
        clashing = pull_request.conflicts(git, discussion, tip)
        if clashing:
            raise HubError(409, f"Pull request {discussion.num} conflicts with {base} in {', '.join(clashing[:5])}.")
        try:
            edits = pull_request.edits(git, discussion, tip)
            return git.commit(base, edits, message, request.caller().user, tip)[0]
        except (StaleParent, NoSuchBranch):
            continue


def _set_status(request: HubRequest, discussion: Discussion, status: Status, merged: str | None = None) -> Event:
    discussions = request.context.discussions
    if request.json.get("comment"):
        _add_comment(request, discussion, _text(request, "comment", COMMENT))
    discussions.set_status(discussion, status, merged)
    return discussions.add_event(discussion, "status-change", request.caller().user, {"status": status})


def _add_comment(request: HubRequest, discussion: Discussion, text: str) -> Event:
    user = request.caller().user
    latest = {"raw": text, "html": f"<p>{html.escape(text)}</p>", "updatedAt": now(), "author": {"name": user}}
    content = {"edited": False, "hidden": False, "latest": latest, "history": [latest]}
    return request.context.discussions.add_event(discussion, "comment", user, content)


def _events(request: HubRequest, repository: OpenRepository, discussion: Discussion) -> list[Event]:
    events = request.context.discussions.events(discussion)
    head = repository.git.head(discussion.ref) if discussion.base else None
    for facts in repository.git.history(head) if head else ():
        if facts.oid == discussion.start:
            break
        commit = {"subject": facts.message.partition("\n")[0], "oid": facts.oid}
        events.append(Event(facts.oid, "commit", facts.author, written(facts.when), commit))
    return events[:1] + sorted(events[1:], key=lambda event: event.created)  # the description comes first


def _event(event: Event) -> dict[str, Any]:
    author = {"name": event.author}
    return {"id": event.id, "type": event.type, "createdAt": event.created, "author": author, "data": event.data}


def _summary(repository: OpenRepository, discussion: Discussion) -> dict[str, Any]:
    return {
        "num": discussion.num, "title": discussion.title, "author": {"name": discussion.author},
        "createdAt": discussion.created, "status": discussion.status, "isPullRequest": bool(discussion.base),
        "repo": {"name": repository.row.full_name, "type": repository.row.kind.removesuffix("s")}, "pinned": False,
    }  # fmt: skip


def _text(request: HubRequest, key: str, limit: int, optional: bool = False) -> str:
    value = request.json.get(key)
    text = value.strip().encode(errors="replace").decode() if isinstance(value, str) else ""
    if (not text and not optional) or len(text) > limit:
        raise HubError(400, f"{key} should be a text of 1 to {limit} characters.")
    return text


_DISCUSSIONS = f"{REPO}/discussions"
ROUTES = [
    route("GET", _DISCUSSIONS, listing),
    route("POST", _DISCUSSIONS, create),
    route("GET", f"{_DISCUSSIONS}/{{num}}", details),
    route("POST", f"{_DISCUSSIONS}/{{num}}/comment", comment),
    route("POST", f"{_DISCUSSIONS}/{{num}}/title", rename),
    route("POST", f"{_DISCUSSIONS}/{{num}}/status", change_status),
    route("POST", f"{_DISCUSSIONS}/{{num}}/merge", merge),
]
