"""Repositories: create, delete, move, change settings, check access."""

from dataclasses import replace
from typing import Any

from starlette.responses import JSONResponse, Response

from embedded_hub.api.spaces import initial_values
from embedded_hub.database.accounts import KINDS, RepoRow, valid_name, valid_namespace
from embedded_hub.errors import HubError
from embedded_hub.events import announce
from embedded_hub.request import HubRequest
from embedded_hub.routing import REPO, route
from embedded_hub.store.git_tree import Put

SDKS = ("gradio", "docker", "static", "streamlit")
# The patterns that the Hub writes into a new repository, as far as permix's users meet them.
LFS_PATTERNS = """
    *.7z *.arrow *.avro *.bin *.bz2 *.ckpt *.ftz *.gguf *.gz *.h5 *.joblib *.lz4 *.mlmodel *.model *.msgpack *.npy
    *.npz *.onnx *.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar
    *.tflite *.tgz *.wasm *.xz *.zip *.zst *tfevents* *.flac *.mp3 *.ogg *.wav *.mp4 *.webm
"""
GITATTRIBUTES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LFS_PATTERNS.split()).encode()


def create(request: HubRequest) -> Response:
    """Create a repository with one commit that holds .gitattributes."""
    context, body, user = request.context, request.json, request.caller().user
    kind = _kind(body.get("type"))
    namespace, name = _split(body.get("name"), body.get("organization") or user)
    private = _private(body, default=False)
    sdk = body.get("sdk") if kind == "spaces" else None
    if kind == "spaces" and sdk not in SDKS:
        raise HubError(400, f"A Space needs an sdk: one of {', '.join(SDKS)}.")
    request.check_may_write(namespace, f"create repositories under {namespace}")
    values = initial_values(body) if kind == "spaces" else []
    with context.names:
        existing = context.accounts.repo(kind, namespace, name)
        if existing:
            sentence = f"You already created this {kind[:-1]} repo: {existing.full_name}."
            raise HubError(409, sentence, url=_url(request, existing))
        context.repositories.create(kind, f"{namespace}/{name}", [Put(".gitattributes", GITATTRIBUTES)], user)
        context.accounts.add_namespace(namespace, "org")
        with context.database.transaction():
            context.accounts.add_repo(kind, namespace, name, private, sdk)
            row = request.find_repository(kind, namespace, name).row
            for secret, key, value, description in values:
                context.spaces.put_value(row.id, secret, key, value, description)
            announce.repository(context, row, "create")
        announce.pushed(context, row)
    return JSONResponse({"url": _url(request, row), "name": row.full_name, "id": str(row.id)})


def delete(request: HubRequest) -> Response:
    """Delete a repository, first from the database, so that nobody sees a part of it."""
    context, body = request.context, request.json
    namespace, name = _split(body.get("name"), body.get("organization") or request.caller().user)
    with context.names:
        row = request.find_repository(_kind(body.get("type")), namespace, name, "write").row
        with context.database.transaction():
            announce.repository(context, row, "delete")
            context.accounts.remove_repo(row)
            context.discussions.remove_all(row.id)
            context.spaces.remove(row.id)
        context.repositories.discard(row.kind, row.full_name)
    return JSONResponse({})


def move(request: HubRequest) -> Response:
    """Change a repository's name or namespace."""
    context, user = request.context, request.caller().user
    kind = _kind(request.json.get("type"))
    namespace, name = _split(request.json.get("toRepo"), user)
    target = f"{namespace}/{name}"
    with context.names:
        old = request.find_repository(kind, *_split(request.json.get("fromRepo"), user), need="write").row
        request.check_may_write(namespace, f"write to {namespace}")
        if context.accounts.repo(kind, namespace, name):
            raise HubError(409, f"There is a {kind[:-1]} {target} already.")
        context.repositories.discard(kind, target)
        context.accounts.add_namespace(namespace, "org")
        context.accounts.begin_move(old, target)
        context.repositories.move(kind, old.full_name, target)
        with context.database.transaction():
            context.accounts.end_move(old, target)
            announce.moved(context, old, request.find_repository(kind, namespace, name).row)
    return JSONResponse({"url": _url(request, request.find_repository(kind, namespace, name).row)})


def settings(request: HubRequest) -> Response:
    """Make a repository private or public."""
    row = request.repository("write").row
    if request.json.get("gated"):
        raise HubError(501, "The embedded Hub does not have gated repositories: make it private instead.")
    private = _private(request.json, default=row.private)
    with request.context.database.transaction():
        request.context.accounts.set_private(row, private)
        row = replace(row, private=private)
        announce.repository(request.context, row, "update", "repo.config", updatedConfig={"private": private})
    return JSONResponse({"private": private, "visibility": "private" if private else "public"})


def auth_check(request: HubRequest) -> Response:
    """Check that the caller may read."""
    request.repository()
    return JSONResponse({})


def auth_check_write(request: HubRequest) -> Response:
    """Check that the caller may write."""
    request.caller()
    request.repository("write")
    return JSONResponse({})


def _kind(type_: Any) -> str:
    kind = f"{type_ or 'model'}s"
    if kind not in KINDS:
        raise HubError(501, f"The embedded Hub keeps models, datasets and spaces, not {kind}.")
    return kind


def _split(full_name: Any, namespace: Any) -> tuple[str, str]:
    *before, name = str(full_name or "").split("/")
    owner = before[0] if before else str(namespace)
    if len(before) > 1 or not valid_name(name) or not valid_namespace(owner):
        rule = "letters, digits, '-', '_' and '.', at most 96, no '--' or '..', neither '-' nor '.' at the ends, and no"
        name = f"{full_name!r} (under {str(namespace)!r})"
        raise HubError(400, f"{name} is not a repository name: {rule} word that the Hub itself uses.")
    return owner, name


def _private(body: dict[str, Any], default: bool) -> bool:
    visibility = body.get("visibility")
    if visibility not in (None, "public", "private"):
        raise HubError(501, f"The embedded Hub knows the visibilities public and private, not {visibility!r}.")
    private = body.get("private", default) if visibility is None else visibility == "private"
    if not isinstance(private, bool):
        raise HubError(400, f"private is {private!r}: true or false is expected.")
    return private


def _url(request: HubRequest, row: RepoRow) -> str:
    return f"{request.base_url}/{row.address}"


ROUTES = [
    route("POST", "/api/repos/create", create),
    route("DELETE", "/api/repos/delete", delete),
    route("POST", "/api/repos/move", move),
    route("PUT", f"{REPO}/settings", settings),
    route("GET", f"{REPO}/auth-check", auth_check),
    route("GET", f"{REPO}/auth-check/write", auth_check_write),
]
