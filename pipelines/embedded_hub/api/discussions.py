"""Discussions and pull requests, as far as clients use them: open, read, comment, rename, close, merge."""

import html
from typing import Any

from starlette.responses import JSONResponse, Response

from embedded_hub.api import pull_request
from embedded_hub.clock import now, written
from embedded_hub.database.discussions import Discussion, Event, Status
from embedded_hub.errors import HubError
from embedded_hub.events import announce
from embedded_hub.request import Call, Here
from embedded_hub.routing import route
from embedded_hub.store.git_reader import PULLS
from embedded_hub.store.git_repository import NoSuchBranch, StaleParent
from embedded_hub.store.git_tree import Edit

PAGE_SIZE = 50
TITLE, COMMENT = 200, 65536
"""Most characters."""


def listing(call: Call) -> Response:
    """The discussions of a repository, the newest first, page by page."""
    here, query = call.here(), call.request.query_params
    found = call.hub.discussions.all(here.row.id)
    if query.get("type") in ("discussion", "pull_request"):
        found = [one for one in found if bool(one.base) == (query["type"] == "pull_request")]
    if query.get("status") in ("open", "closed"):
        found = [one for one in found if (one.status in ("open", "draft")) == (query["status"] == "open")]
    if query.get("author"):
        found = [one for one in found if one.author.lower() == query["author"].lower()]
    start = call.number("p", 0) * PAGE_SIZE
    page = [_summary(here, one) for one in found[start : start + PAGE_SIZE]]
    return JSONResponse({"discussions": page, "count": len(found), "start": start})


def details(call: Call) -> Response:
    """One discussion with all that happened in it; for a pull request also what it changes."""
    here = call.here()
    one = _the(call, here)
    known: dict[str, Any] = _summary(here, one) | {"events": [_event(event) for event in _events(call, here, one)]}
    if one.base:
        tip = here.git.head(one.base) or one.start or ""
        waiting = one.status in ("open", "draft")
        known["changes"] = {"base": f"refs/heads/{one.base}"} | ({"mergeCommitId": one.merged} if one.merged else {})
        known["filesWithConflicts"] = pull_request.conflicts(here.git, one, tip) if waiting else []
        if call.flag("diff"):
            known["diff"] = pull_request.diff(here.git, one)
    return JSONResponse(known)


def create(call: Call) -> Response:
    """Open a discussion, or a pull request that holds nothing yet."""
    here = participant(call)
    title = _text(call, "title", TITLE)
    description = _text(call, "description", COMMENT, optional=True)
    if call.json.get("pullRequest"):
        one = open_pull_request(call, here, "main", None, [], title, description, "draft")
    else:
        with call.hub.discussions.opening:
            number = _next_number(call, here)
            one = Discussion(here.row.id, number, title, call.who().user, now(), "open", None, None, None)
            call.hub.discussions.add(one)
        announce.discussed(call.hub, here.row, one, "create", _comment(call, one, description))
    return JSONResponse({"num": one.num, "url": address(call, here, one), "pullRequest": bool(one.base)})


def comment(call: Call) -> Response:
    """Say something."""
    here = participant(call)
    one = _the(call, here)
    said = _comment(call, one, _text(call, "comment", COMMENT))
    announce.discussed(call.hub, here.row, one, "comment", said)
    return JSONResponse({"newMessage": _event(said)})


def rename(call: Call) -> Response:
    """Give a discussion another title."""
    here = participant(call)
    one = own(call, here, _the(call, here))
    title = _text(call, "title", TITLE)
    call.hub.discussions.set_title(one, title)
    data = {"from": one.title, "to": title}
    announce.discussed(call.hub, here.row, _the(call, here), "update")
    return JSONResponse({"newTitle": _event(call.hub.discussions.note(one, "title-change", call.who().user, data))})


def change_status(call: Call) -> Response:
    """Close a discussion or open it again."""
    here = participant(call)
    one = own(call, here, _the(call, here))
    wanted = call.json.get("status")
    if wanted not in ("open", "closed"):
        raise HubError(400, f"The status {wanted!r} cannot be set: open or closed is expected.")
    if one.status == "merged":
        raise HubError(400, f"Pull request {one.num} is merged, which cannot be undone.")
    if call.json.get("comment"):
        _comment(call, one, _text(call, "comment", COMMENT))
    noted = _set_status(call, one, wanted)
    announce.discussed(call.hub, here.row, _the(call, here), "update")
    return JSONResponse({"newStatus": _event(noted)})


def merge(call: Call) -> Response:
    """Put the changes of a pull request on its branch, in one commit."""
    here = call.here("write")
    one = _the(call, here)
    if not one.base or one.status != "open":
        what = f"a {one.status} pull request" if one.base else "no pull request"
        raise HubError(400, f"Discussion {one.num} is {what}: only an open pull request can be merged.")
    merged = _merged(call, here, one)
    if call.json.get("comment"):
        _comment(call, one, _text(call, "comment", COMMENT))
    _set_status(call, one, "merged", merged)
    announce.pushed(call.hub, here.row)
    announce.discussed(call.hub, here.row, _the(call, here), "update")
    return JSONResponse({"mergeCommitId": merged})


def participant(call: Call) -> Here:
    """The repository, for who may take part in its discussions: everybody who sees it and may write anywhere."""
    here = call.here()
    if call.who().role == "read":
        raise HubError(403, f"The token {call.who().token_name!r} may only read.")
    return here


def own(call: Call, here: Here, one: Discussion) -> Discussion:
    """The discussion again, for its author and those who may write to the repository; 403 for others."""
    if one.author != call.who().user and not call.who().may_write(here.row.namespace):
        raise HubError(403, f"Discussion {one.num} belongs to {one.author}.")
    return one


def pull_request_to_write(call: Call, here: Here, ref: str) -> Discussion:
    """The pull request behind `refs/pr/N`, when the caller may add commits to it."""
    number = ref.removeprefix(PULLS)
    one = (
        call.hub.discussions.get(here.row.id, int(number))
        if number.isascii() and number.isdigit() and len(number) < 10
        else None
    )
    if one is None or not one.base:
        raise HubError(404, f"There is no pull request {ref} in {here.address}.", "RevisionNotFound")
    if own(call, here, one).status not in ("open", "draft"):
        raise HubError(400, f"Pull request {one.num} is {one.status}: open it again or make another one.")
    return one


def open_pull_request(
    call: Call,
    here: Here,
    base: str,
    start: str | None,
    edits: list[Edit],
    message: str,
    description: str,
    status: Status,
) -> Discussion:
    """Make a pull request to the branch `base` with one commit on top of `start` (by default the branch's tip)."""
    me, tip = call.who().user, here.git.head(base)
    if tip is None:
        raise HubError(404, f"There is no branch {base!r} in {here.address}.", "RevisionNotFound")
    start = here.commit(start) if start else tip
    title = message.partition("\n")[0].strip()[:TITLE]
    with call.hub.discussions.opening:
        number = _next_number(call, here)
        here.git.propose(number, start, edits, message, me)
        one = Discussion(here.row.id, number, title, me, now(), status, base, start, None)
        call.hub.discussions.add(one)
    announce.pushed(call.hub, here.row)
    announce.discussed(call.hub, here.row, one, "create", _comment(call, one, description))
    return one


def address(call: Call, here: Here, one: Discussion) -> str:
    """Where people would look at it."""
    return f"{call.base}/{here.address}/discussions/{one.num}"


def _next_number(call: Call, here: Here) -> int:
    refs = [int(name) for name in here.git.refs(PULLS) if name.isdigit()]  # a kill may have left one without its row
    return max([call.hub.discussions.last(here.row.id), *refs]) + 1


def _the(call: Call, here: Here) -> Discussion:
    number = call.param("num")
    known = number.isascii() and number.isdigit() and len(number) < 10
    one = call.hub.discussions.get(here.row.id, int(number)) if known else None
    if one is None:
        raise HubError(404, f"There is no discussion {number} in {here.address}.")
    return one


def _merged(call: Call, here: Here, one: Discussion) -> str:
    """The commit that merges; the branch may move while it is prepared."""
    assert one.base
    while True:
        tip = here.git.head(one.base)
        if tip is None:
            raise HubError(404, f"There is no branch {one.base!r} any more.", "RevisionNotFound")
        clashing = pull_request.conflicts(here.git, one, tip)
        if clashing:
            raise HubError(409, f"Pull request {one.num} conflicts with {one.base} in {', '.join(clashing[:5])}.")
        edits = pull_request.edits(here.git, one, tip)
        try:
            return here.git.commit(one.base, edits, f"{one.title} (#{one.num})", call.who().user, tip)[0]
        except (StaleParent, NoSuchBranch):
            continue


def _set_status(call: Call, one: Discussion, status: Status, merged: str | None = None) -> Event:
    call.hub.discussions.set_status(one, status, merged)
    return call.hub.discussions.note(one, "status-change", call.who().user, {"status": status})


def _comment(call: Call, one: Discussion, text: str) -> Event:
    me = call.who().user
    latest = {"raw": text, "html": f"<p>{html.escape(text)}</p>", "updatedAt": now(), "author": {"name": me}}
    return call.hub.discussions.note(
        one, "comment", me, {"edited": False, "hidden": False, "latest": latest, "history": [latest]}
    )


def _events(call: Call, here: Here, one: Discussion) -> list[Event]:
    found = call.hub.discussions.events(one)
    head = here.git.head(one.ref) if one.base else None
    for facts in here.git.history(head) if head else ():
        if facts.oid == one.start:
            break
        data = {"subject": facts.message.partition("\n")[0], "oid": facts.oid}
        found.append(Event(facts.oid, "commit", facts.author, written(facts.when), data))
    return found[:1] + sorted(found[1:], key=lambda event: event.created)  # the description comes first


def _event(event: Event) -> dict[str, Any]:
    known = {"id": event.id, "type": event.type, "createdAt": event.created, "author": {"name": event.author}}
    return known | {"data": event.data}


def _summary(here: Here, one: Discussion) -> dict[str, Any]:
    repo = {"name": here.row.full_name, "type": here.row.kind.removesuffix("s")}
    return {
        "num": one.num, "title": one.title, "author": {"name": one.author}, "createdAt": one.created,
        "status": one.status, "isPullRequest": bool(one.base), "repo": repo, "pinned": False,
    }  # fmt: skip


def _text(call: Call, key: str, limit: int, optional: bool = False) -> str:
    found = call.json.get(key)
    text = found.strip().encode(errors="replace").decode() if isinstance(found, str) else ""
    if (not text and not optional) or len(text) > limit:
        raise HubError(400, f"{key} should be a text of 1 to {limit} characters.")
    return text


_ONE = "/api/{kind}/{namespace}/{name}/discussions"
ROUTES = [
    route("GET", _ONE, listing),
    route("POST", _ONE, create),
    route("GET", f"{_ONE}/{{num}}", details),
    route("POST", f"{_ONE}/{{num}}/comment", comment),
    route("POST", f"{_ONE}/{{num}}/title", rename),
    route("POST", f"{_ONE}/{{num}}/status", change_status),
    route("POST", f"{_ONE}/{{num}}/merge", merge),
]
