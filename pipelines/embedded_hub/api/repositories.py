"""Repositories: create, delete, move, settings, and who may."""

from dataclasses import replace
from typing import Any

from starlette.responses import JSONResponse, Response

from embedded_hub.api.spaces import initial_values
from embedded_hub.database.accounts import KINDS, NameTaken, RepoRow, valid_name, valid_namespace
from embedded_hub.errors import HubError
from embedded_hub.events import announce
from embedded_hub.request import Call
from embedded_hub.routing import route
from embedded_hub.store.git_tree import Put

SDKS = ("gradio", "docker", "static", "streamlit")
# The patterns that the Hub writes into a new repository, as far as permix's users meet them.
LFS_PATTERNS = """
    *.7z *.arrow *.avro *.bin *.bz2 *.ckpt *.ftz *.gguf *.gz *.h5 *.joblib *.lz4 *.mlmodel *.model *.msgpack *.npy
    *.npz *.onnx *.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar
    *.tflite *.tgz *.wasm *.xz *.zip *.zst *tfevents* *.flac *.mp3 *.ogg *.wav *.mp4 *.webm
"""
GITATTRIBUTES = "".join(f"{one} filter=lfs diff=lfs merge=lfs -text\n" for one in LFS_PATTERNS.split()).encode()


def create(call: Call) -> Response:
    """Make a repository with one commit that holds .gitattributes."""
    me, wanted = call.who(), call.json
    kind = _kind(wanted.get("type"))
    namespace, name = _split(wanted.get("name"), wanted.get("organization") or me.user)
    private = _private(wanted, default=False)
    sdk = wanted.get("sdk") if kind == "spaces" else None
    if kind == "spaces" and sdk not in SDKS:
        raise HubError(400, f"A Space needs an sdk: one of {', '.join(SDKS)}.")
    if not me.may_write(namespace):
        raise HubError(403, f"The token {me.token_name!r} may not create repositories under {namespace}.")
    values = initial_values(wanted) if kind == "spaces" else []
    with call.hub.names:
        there = call.hub.accounts.repo(kind, namespace, name)
        if there:
            sentence = f"You already created this {kind[:-1]} repo: {there.full_name}."
            raise HubError(409, sentence, url=_url(call, there))
        call.hub.store.create(kind, f"{namespace}/{name}", [Put(".gitattributes", GITATTRIBUTES)], me.user)
        call.hub.accounts.add_namespace(namespace, "org")
        with call.hub.accounts.transaction():
            call.hub.accounts.add_repo(kind, namespace, name, private, sdk)
            row = call.find(kind, namespace, name).row
            for secret, key, value, description in values:
                call.hub.spaces.put_value(row.id, secret, key, value, description)
            announce.repository(call.hub, row, "create")
        announce.pushed(call.hub, row)
    return JSONResponse({"url": _url(call, row), "name": row.full_name, "id": str(row.id)})


def delete(call: Call) -> Response:
    """Delete a repository. It is gone from the database first, so that no half of it is ever seen."""
    namespace, name = _split(call.json.get("name"), call.json.get("organization") or call.who().user)
    with call.hub.names:
        here = call.find(_kind(call.json.get("type")), namespace, name, "write")
        with call.hub.accounts.transaction():
            announce.repository(call.hub, here.row, "delete")
            call.hub.accounts.remove_repo(here.row)
            call.hub.discussions.forget(here.row.id)
            call.hub.spaces.forget(here.row.id)
        call.hub.store.discard(here.row.kind, here.row.full_name)
    return JSONResponse({})


def move(call: Call) -> Response:
    """Give a repository another name or namespace."""
    kind, to = _kind(call.json.get("type")), call.json.get("toRepo")
    namespace, name = _split(to, call.who().user)
    with call.hub.names:
        here = call.find(kind, *_split(call.json.get("fromRepo"), call.who().user), need="write")
        if not call.who().may_write(namespace):
            raise HubError(403, f"The token {call.who().token_name!r} may not write to {namespace}.")
        if call.hub.accounts.repo(kind, namespace, name):
            raise HubError(409, f"There is a {kind[:-1]} {namespace}/{name} already.")
        target = f"{namespace}/{name}"
        call.hub.store.discard(kind, target)
        call.hub.accounts.add_namespace(namespace, "org")
        call.hub.accounts.begin_move(here.row, target)
        call.hub.store.move(kind, here.row.full_name, target)
        try:
            with call.hub.accounts.transaction():
                call.hub.accounts.end_move(here.row, target)
                announce.moved(call.hub, here.row, call.find(kind, namespace, name).row)
        except NameTaken:  # pragma: no cover  (the lock above)
            raise HubError(409, f"There is a {kind[:-1]} {target} already.") from None
    return JSONResponse({"url": _url(call, call.find(kind, namespace, name).row)})


def settings(call: Call) -> Response:
    """Make a repository private or public."""
    here = call.here("write")
    if call.json.get("gated"):
        raise HubError(501, "The embedded Hub has no gated repositories: make it private instead.")
    private = _private(call.json, default=here.row.private)
    with call.hub.accounts.transaction():
        call.hub.accounts.set_private(here.row, private)
        row = replace(here.row, private=private)
        announce.repository(call.hub, row, "update", "repo.config", updatedConfig={"private": private})
    return JSONResponse({"private": private, "visibility": "private" if private else "public"})


def auth_check(call: Call) -> Response:
    """Whether the caller may read."""
    call.here()
    return JSONResponse({})


def auth_check_write(call: Call) -> Response:
    """Whether the caller may write."""
    call.who()
    call.here("write")
    return JSONResponse({})


def _kind(type_: Any) -> str:
    kind = f"{type_ or 'model'}s"
    if kind not in KINDS:
        raise HubError(501, f"The embedded Hub keeps models, datasets and spaces, no {kind}.")
    return kind


def _split(full_name: Any, namespace: Any) -> tuple[str, str]:
    namespace = str(namespace)
    *before, name = str(full_name or "").split("/")
    if len(before) > 1 or not valid_name(name) or not valid_namespace(before[0] if before else namespace):
        raise HubError(
            400,
            f"{full_name!r} (under {namespace!r}) is no repository name: letters, digits, '-', '_' and '.', at most "
            "96, no '--' or '..', neither '-' nor '.' at the ends, and no word that the Hub itself uses.",
        )
    return (before[0] if before else namespace), name


def _private(wanted: dict[str, Any], default: bool) -> bool:
    visibility = wanted.get("visibility")
    if visibility not in (None, "public", "private"):
        raise HubError(501, f"The embedded Hub knows the visibilities public and private, not {visibility!r}.")
    private = wanted.get("private", default) if visibility is None else visibility == "private"
    if not isinstance(private, bool):
        raise HubError(400, f"private is {private!r}: true or false is expected.")
    return private


def _url(call: Call, row: RepoRow) -> str:
    return f"{call.base}/{'' if row.kind == 'models' else row.kind + '/'}{row.full_name}"


_REPO = "/api/{kind}/{namespace}/{name}"
ROUTES = [
    route("POST", "/api/repos/create", create),
    route("DELETE", "/api/repos/delete", delete),
    route("POST", "/api/repos/move", move),
    route("PUT", f"{_REPO}/settings", settings),
    route("GET", f"{_REPO}/auth-check", auth_check),
    route("GET", f"{_REPO}/auth-check/write", auth_check_write),
]
