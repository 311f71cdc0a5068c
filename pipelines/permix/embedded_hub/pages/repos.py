"""Repositories: create, delete, move, settings; what is known of one, and lists."""

import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.responses import JSONResponse, Response

from permix.embedded_hub import card
from permix.embedded_hub.accounts import KINDS, NameTaken, RepoRow, valid_name, valid_namespace
from permix.embedded_hub.call import Call, Here, HubError, route
from permix.embedded_hub.tree import Put

PAGE_SIZE = 1000
SDKS = ("gradio", "docker", "static", "streamlit")
# The patterns that the Hub writes into a new repository, as far as permix's users meet them.
LFS_PATTERNS = """
    *.7z *.arrow *.avro *.bin *.bz2 *.ckpt *.ftz *.gguf *.gz *.h5 *.joblib *.lz4 *.mlmodel *.model *.msgpack *.npy
    *.npz *.onnx *.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar
    *.tflite *.tgz *.wasm *.xz *.zip *.zst *tfevents* *.flac *.mp3 *.ogg *.wav *.mp4 *.webm
"""
GITATTRIBUTES = "".join(f"{one} filter=lfs diff=lfs merge=lfs -text\n" for one in LFS_PATTERNS.split()).encode()

_names = threading.Lock()
"""Held while repositories appear, vanish or change their name: rare, and each is over in a few milliseconds."""


def create(call: Call) -> Response:
    """Make a repository with one commit that holds .gitattributes."""
    me, wanted = call.who(), call.json
    kind = _kind(wanted.get("type"))
    namespace, name = _split(wanted.get("name"), wanted.get("organization") or me.user)
    private = _private(wanted, default=bool(wanted.get("private")))
    sdk = wanted.get("sdk") if kind == "spaces" else None
    if kind == "spaces" and sdk not in SDKS:
        raise HubError(400, f"A Space needs an sdk: one of {', '.join(SDKS)}.")
    if not me.may_write(namespace):
        raise HubError(403, f"The token {me.token_name!r} may not create repositories under {namespace}.")
    with _names:
        there = call.hub.accounts.repo(kind, namespace, name)
        if there:
            sentence = f"You already created this {kind[:-1]} repo: {there.full_name}."
            raise HubError(409, sentence, url=_url(call, there))
        call.hub.store.create(kind, f"{namespace}/{name}", [Put(".gitattributes", GITATTRIBUTES)], me.user)
        call.hub.accounts.add_namespace(namespace, "org")
        call.hub.accounts.add_repo(kind, namespace, name, private, sdk)
    row = call.find(kind, namespace, name).row
    return JSONResponse({"url": _url(call, row), "name": row.full_name, "id": str(row.id)})


def delete(call: Call) -> Response:
    """Delete a repository. It is gone from the database first, so that no half of it is ever seen."""
    namespace, name = _split(call.json.get("name"), call.json.get("organization") or call.who().user)
    with _names:
        here = call.find(_kind(call.json.get("type")), namespace, name, "write")
        call.hub.accounts.remove_repo(here.row)
        call.hub.store.discard(here.row.kind, here.row.full_name)
    return JSONResponse({})


def move(call: Call) -> Response:
    """Give a repository another name or namespace."""
    kind, to = _kind(call.json.get("type")), call.json.get("toRepo")
    namespace, name = _split(to, call.who().user)
    with _names:
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
            call.hub.accounts.end_move(here.row, target)
        except NameTaken:  # pragma: no cover  (the lock above)
            raise HubError(409, f"There is a {kind[:-1]} {target} already.") from None
    return JSONResponse({"url": _url(call, call.find(kind, namespace, name).row)})


def settings(call: Call) -> Response:
    """Make a repository private or public."""
    here = call.here("write")
    if call.json.get("gated"):
        raise HubError(501, "The embedded Hub has no gated repositories: make it private instead.")
    private = _private(call.json, default=call.json.get("private", here.row.private))
    call.hub.accounts.set_private(here.row, private)
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


def info(call: Call) -> Response:
    """What is known of a repository at its head or at a revision."""
    here = call.here()
    revision = call.request.path_params.get("revision") or "main"
    known = _facts(call, here, here.commit(revision))
    wanted = call.request.query_params.getlist("expand")
    if wanted:
        return JSONResponse({key: find() for key, find in known.items() if key in {"_id", "id", *wanted}})
    known.pop("config", None)
    if call.flag("blobs"):
        known["siblings"] = lambda: _siblings(call, here, here.commit(revision))
    return JSONResponse({key: find() for key, find in known.items()})


def without_namespace(call: Call) -> Response:
    """Old names such as `gpt2` exist on the real Hub only."""
    raise call.not_found((call.request.path_params.get("kind") or "models"), "", call.param("name"))


def listing(call: Call) -> Response:
    """All repositories of a kind that the caller may see, filtered, sorted, page by page."""
    query = call.request.query_params
    rows = (row for row in call.hub.accounts.repos(call.param("kind"), query.get("author")) if call.may_read(row))
    found = [known for row in rows if (known := _listed(call, row))]
    order = query.get("sort")
    if order in ("createdAt", "lastModified"):
        found.sort(key=lambda known: str(known[order]()), reverse=query.get("direction", "-1") == "-1")
    start = int(query["cursor"]) if query.get("cursor", "").isdigit() else 0
    limit = int(query["limit"]) if query.get("limit", "").isdigit() else PAGE_SIZE
    size = min(limit, PAGE_SIZE)
    keys = _list_keys(call)
    page = [{key: find() for key, find in known.items() if key in keys} for known in found[start : start + size]]
    headers = {}
    if start + size < len(found):
        more = urlencode([(k, v) for k, v in query.multi_items() if k != "cursor"] + [("cursor", str(start + size))])
        headers["Link"] = f'<{call.base}/api/{call.param("kind")}?{more}>; rel="next"'
    return JSONResponse(page, headers=headers)


Facts = dict[str, Callable[[], Any]]
"""Key of the answer -> how to find its value: a list asks for few, and a card is read only when it is asked for."""


def _facts(call: Call, here: Here, sha: str) -> Facts:
    row = here.row

    def metadata() -> dict[str, Any]:
        try:
            return card.metadata(here.git.text(sha, "README.md") or "")
        except card.BadCard:
            return {}  # a card that came by git push must not take the repository out of every list

    def library() -> str | None:
        names = {path for path, _ in here.git.files(sha)}
        guess = "peft" if "adapter_config.json" in names else "transformers" if "config.json" in names else None
        return metadata().get("library_name") or guess

    def tags() -> list[str]:
        found = card.tags(metadata())
        guess = library() if row.kind == "models" else None
        return found if not guess or guess in found else [guess, *found]

    known: Facts = {
        "_id": lambda: f"{row.id:024x}",
        "id": lambda: row.full_name,
        "author": lambda: row.namespace,
        "sha": lambda: sha,
        "lastModified": lambda: _time(here.git.commit_facts(sha).when),
        "createdAt": lambda: row.created,
        "private": lambda: row.private,
        "gated": lambda: False,
        "disabled": lambda: False,
        "downloads": lambda: 0,
        "likes": lambda: 0,
        "tags": tags,
        "cardData": metadata,
        "siblings": lambda: [{"rfilename": path} for path, _ in here.git.files(sha)],
    }
    if row.kind == "models":
        known |= {"modelId": lambda: row.full_name, "library_name": library}
        known |= {"pipeline_tag": lambda: metadata().get("pipeline_tag"), "config": dict}
    if row.kind == "spaces":
        host = re.sub("[^a-z0-9-]", "-", row.full_name.lower().replace("/", "-"))
        stopped = {"stage": "STOPPED", "hardware": {"current": None, "requested": None}, "gcTimeout": None}
        known |= {"sdk": lambda: row.sdk, "subdomain": lambda: host, "host": lambda: None, "runtime": lambda: stopped}
    return known


def _siblings(call: Call, here: Here, sha: str) -> list[dict[str, Any]]:
    entries = [entry for entry in here.git.below(here.entry(sha, "")) if not entry.folder]
    pointers = call.pointers(here, entries)
    found = []
    for entry in sorted(entries, key=lambda entry: entry.path):
        one: dict[str, Any] = {"rfilename": entry.path, "blobId": entry.oid, "size": entry.size}
        if entry.path in pointers:
            pointer = pointers[entry.path]
            one |= {"size": pointer.size}
            one["lfs"] = {"sha256": pointer.oid, "size": pointer.size, "pointerSize": entry.size}
        found.append(one)
    return found


def _listed(call: Call, row: RepoRow) -> Facts | None:
    query = call.request.query_params
    if any(word.lower() not in row.full_name.lower() for word in query.getlist("search")):
        return None
    try:
        here = call.find(row.kind, row.namespace, row.name)
        known = _facts(call, here, here.commit("main"))
    except HubError:
        return None  # deleted in this moment
    if any(word not in known["tags"]() for word in query.getlist("filter")):
        return None
    if query.get("pipeline_tag") and known["pipeline_tag"]() != query["pipeline_tag"]:
        return None
    return None if query.get("gated", "").lower() in ("1", "true") else known


def _list_keys(call: Call) -> set[str]:
    wanted = call.request.query_params.getlist("expand")
    if wanted:
        return {"_id", "id", *wanted}
    keys = {"_id", "id", "author", "modelId", "sha", "lastModified", "createdAt", "private", "gated", "downloads"}
    keys |= {"likes", "tags", "pipeline_tag", "library_name", "sdk"}
    if call.flag("full"):
        keys |= {"siblings", "cardData", "disabled"}
    return keys | ({"cardData"} if call.flag("cardData") else set()) | ({"config"} if call.flag("config") else set())


def _kind(type_: Any) -> str:
    kind = f"{type_ or 'model'}s"
    if kind not in KINDS:
        raise HubError(501, f"The embedded Hub keeps models, datasets and spaces, no {kind}.")
    return kind


def _split(full_name: Any, namespace: str) -> tuple[str, str]:
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
    return default if visibility is None else visibility == "private"


def _url(call: Call, row: RepoRow) -> str:
    return f"{call.base}/{'' if row.kind == 'models' else row.kind + '/'}{row.full_name}"


def _time(when: int) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _routes() -> Iterator[Any]:
    yield route("POST", "/api/repos/create", create)
    yield route("DELETE", "/api/repos/delete", delete)
    yield route("POST", "/api/repos/move", move)
    yield route("GET", "/api/{kind}", listing)
    repo = "/api/{kind}/{namespace}/{name}"
    yield route("PUT", f"{repo}/settings", settings)
    yield route("GET", f"{repo}/auth-check", auth_check)
    yield route("GET", f"{repo}/auth-check/write", auth_check_write)
    yield route("GET", repo, info)
    yield route("GET", f"{repo}/revision/{{revision}}", info)
    yield route("GET", "/api/{kind}/{name}", without_namespace)
    yield route("GET", "/api/{kind}/{name}/revision/{revision}", without_namespace)
    yield route("GET", "/{name}/resolve/{revision}/{path:rest}", without_namespace)


ROUTES = list(_routes())
