"""Branches and tags."""

from starlette.responses import JSONResponse, Response

from embedded_hub.errors import HubError
from embedded_hub.events import announce
from embedded_hub.request import HubRequest
from embedded_hub.routing import REPO, route
from embedded_hub.store.git_reader import HEADS, PULLS, TAGS
from embedded_hub.store.git_repository import BadRef, NoSuchBranch, RefExists


def refs(request: HubRequest) -> Response:
    """List all branches and tags, and on request pull requests, with their commits."""
    repository = request.repository()

    def under(prefix: str) -> list[dict[str, str]]:
        commits = repository.git.refs(prefix)
        return [{"name": name, "ref": prefix + name, "targetCommit": commit} for name, commit in commits.items()]

    answer = {"branches": under(HEADS), "converts": [], "tags": under(TAGS)}
    if request.flag("include_prs"):
        refs_with_row = {discussion.ref for discussion in request.context.discussions.all(repository.row.id)}
        answer["pullRequests"] = [row for row in under(PULLS) if row["ref"] in refs_with_row]
    return JSONResponse(answer)


def create_branch(request: HubRequest) -> Response:
    """Create a branch at a revision, by default at main."""
    target = request.repository("write").commit(str(request.json.get("startingPoint") or "main"))
    return _create(request, HEADS + request.param("ref"), target)


def create_tag(request: HubRequest) -> Response:
    """Tag a revision."""
    target = request.repository("write").commit(request.param("revision"))
    ref = f"{TAGS}{request.json.get('tag') or ''}"
    return _create(request, ref, target, str(request.json.get("message") or ""))


def delete_branch(request: HubRequest) -> Response:
    """Delete a branch other than main."""
    if request.param("ref") == "main":
        raise HubError(400, "The branch main cannot be deleted.")
    return _delete(request, HEADS)


def delete_tag(request: HubRequest) -> Response:
    """Delete a tag."""
    return _delete(request, TAGS)


def super_squash(request: HubRequest) -> Response:
    """Replace the history of a branch by one commit."""
    repository, branch = request.repository("write"), request.param("ref")
    try:
        message = str(request.json.get("message") or "Super-squash branch")
        repository.git.squash(branch, message, request.caller().user)
        announce.pushed(request.context, repository.row)
    except NoSuchBranch:
        raise HubError(404, f"There is no branch {branch!r}.", "RevisionNotFound") from None
    return JSONResponse({})


def _create(request: HubRequest, ref: str, target: str, message: str = "") -> Response:
    repository = request.repository("write")
    try:
        repository.git.create_ref(ref, target, message, request.caller().user)
        announce.pushed(request.context, repository.row)
    except RefExists:
        raise HubError(409, f"Reference already exists: {ref}.") from None
    except BadRef:
        raise HubError(400, f"Git does not allow the name {ref!r}, or not beside the existing names.") from None
    return JSONResponse({"ref": ref, "targetCommit": target})


def _delete(request: HubRequest, prefix: str) -> Response:
    repository, name = request.repository("write"), request.param("ref")
    if not repository.git.delete_ref(prefix + name):
        raise HubError(404, f"There is no {name!r} to delete.", "RevisionNotFound")
    announce.pushed(request.context, repository.row)
    return JSONResponse({})


ROUTES = [
    route("GET", f"{REPO}/refs", refs),
    route("POST", f"{REPO}/branch/{{ref}}", create_branch),
    route("DELETE", f"{REPO}/branch/{{ref}}", delete_branch),
    route("POST", f"{REPO}/tag/{{revision}}", create_tag),
    route("DELETE", f"{REPO}/tag/{{ref}}", delete_tag),
    route("POST", f"{REPO}/super-squash/{{ref}}", super_squash),
]
