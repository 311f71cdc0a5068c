"""Branches and tags."""

from starlette.responses import JSONResponse, Response

from embedded_hub.errors import HubError
from embedded_hub.events import announce
from embedded_hub.request import Call
from embedded_hub.routing import route
from embedded_hub.store.git_reader import HEADS, PULLS, TAGS
from embedded_hub.store.git_repository import BadRef, NoSuchBranch, RefExists


def refs(call: Call) -> Response:
    """All branches and tags, and on request pull requests, with the commits they name."""
    here = call.here()

    def under(prefix: str) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": prefix + name, "targetCommit": commit}
            for name, commit in here.git.refs(prefix).items()
        ]

    found = {"branches": under(HEADS), "converts": [], "tags": under(TAGS)}
    if call.flag("include_prs"):
        known = {one.ref for one in call.hub.discussions.all(here.row.id)}
        found["pullRequests"] = [one for one in under(PULLS) if one["ref"] in known]
    return JSONResponse(found)


def create_branch(call: Call) -> Response:
    """Begin a branch at a revision, by default at main."""
    here = call.here("write")
    target = here.commit(str(call.json.get("startingPoint") or "main"))
    return _create(call, HEADS + call.param("ref"), target)


def create_tag(call: Call) -> Response:
    """Tag a revision."""
    here = call.here("write")
    target = here.commit(call.param("revision"))
    return _create(call, f"{TAGS}{call.json.get('tag') or ''}", target, str(call.json.get("message") or ""))


def delete_branch(call: Call) -> Response:
    """Delete a branch; main stays."""
    if call.param("ref") == "main":
        raise HubError(400, "The branch main cannot be deleted.")
    return _delete(call, HEADS)


def delete_tag(call: Call) -> Response:
    """Delete a tag."""
    return _delete(call, TAGS)


def super_squash(call: Call) -> Response:
    """Replace the history of a branch by one commit."""
    here = call.here("write")
    message = str(call.json.get("message") or "Super-squash branch")
    try:
        here.git.squash(call.param("ref"), message, call.who().user)
        announce.pushed(call.hub, here.row)
    except NoSuchBranch:
        raise HubError(404, f"There is no branch {call.param('ref')!r}.", "RevisionNotFound") from None
    return JSONResponse({})


def _create(call: Call, ref: str, target: str, message: str = "") -> Response:
    here = call.here("write")
    try:
        here.git.create_ref(ref, target, message, call.who().user)
        announce.pushed(call.hub, here.row)
    except RefExists:
        raise HubError(409, f"Reference already exists: {ref}.") from None
    except BadRef:
        raise HubError(400, f"Git does not allow the name {ref!r}, or not beside the names that are there.") from None
    return JSONResponse({"ref": ref, "targetCommit": target})


def _delete(call: Call, prefix: str) -> Response:
    here = call.here("write")
    if not here.git.delete_ref(prefix + call.param("ref")):
        raise HubError(404, f"There is no {call.param('ref')!r} to delete.", "RevisionNotFound")
    announce.pushed(call.hub, here.row)
    return JSONResponse({})


_REPO = "/api/{kind}/{namespace}/{name}"
ROUTES = [
    route("GET", f"{_REPO}/refs", refs),
    route("POST", f"{_REPO}/branch/{{ref}}", create_branch),
    route("DELETE", f"{_REPO}/branch/{{ref}}", delete_branch),
    route("POST", f"{_REPO}/tag/{{revision}}", create_tag),
    route("DELETE", f"{_REPO}/tag/{{ref}}", delete_tag),
    route("POST", f"{_REPO}/super-squash/{{ref}}", super_squash),
]
