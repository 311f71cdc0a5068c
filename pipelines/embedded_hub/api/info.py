"""What is known of a repository, and lists of them."""

import re
from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse, Response

from embedded_hub.api import spaces
from embedded_hub.clock import written
from embedded_hub.database.accounts import RepoRow
from embedded_hub.errors import HubError
from embedded_hub.request import Call, Here
from embedded_hub.routing import route
from embedded_hub.store import card_metadata

PAGE_SIZE = 1000


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
    unknown = sorted({"apps", "inference", "inference_provider", "num_parameters"} & set(query))
    if unknown:
        raise HubError(501, f"The embedded Hub's lists cannot be filtered by {', '.join(unknown)}.")
    rows = (row for row in call.hub.accounts.repos(call.param("kind"), query.get("author")) if call.may_read(row))
    found = [known for row in rows if (known := _listed(call, row))]
    order = query.get("sort")
    if order in ("createdAt", "lastModified"):
        found.sort(key=lambda known: str(known[order]()), reverse=query.get("direction", "-1") == "-1")
    start, size = call.number("cursor", 0), min(max(call.number("limit", PAGE_SIZE), 1), PAGE_SIZE)
    keys = _list_keys(call)
    page = [{key: find() for key, find in known.items() if key in keys} for known in found[start : start + size]]
    headers = call.next_page("cursor", start + size) if start + size < len(found) else {}
    return JSONResponse(page, headers=headers)


Facts = dict[str, Callable[[], Any]]
"""Key of the answer -> how to find its value: a list asks for few, and a card is read only when it is asked for."""


def _facts(call: Call, here: Here, sha: str) -> Facts:
    row = here.row

    def metadata() -> dict[str, Any]:
        try:
            return card_metadata.metadata(here.git.text(sha, "README.md") or "")
        except card_metadata.BadCard:
            return {}  # a card that came by git push must not take the repository out of every list

    def library() -> str | None:
        names = {path for path, _ in here.git.files(sha)}
        guess = "peft" if "adapter_config.json" in names else "transformers" if "config.json" in names else None
        return metadata().get("library_name") or guess

    def tags() -> list[str]:
        found = card_metadata.tags(metadata())
        guess = library() if row.kind == "models" else None
        return found if not guess or guess in found else [guess, *found]

    known: Facts = {
        "_id": lambda: f"{row.id:024x}",
        "id": lambda: row.full_name,
        "author": lambda: row.namespace,
        "sha": lambda: sha,
        "lastModified": lambda: written(here.git.commit_facts(sha).when),
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
        name, now = re.sub("[^a-z0-9-]", "-", row.full_name.lower().replace("/", "-")), call.hub.spaces.runtime(row.id)
        known |= {"sdk": lambda: row.sdk, "subdomain": lambda: name, "runtime": lambda: spaces.described(now)}
        known["host"] = lambda: f"http://127.0.0.1:{now.port}" if now.port else None
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
    uses = {key: query.getlist(key) for key in ("datasets", "models") if row.kind == "spaces" and key in query}
    if any(
        name not in card_metadata.words(known["cardData"]().get(key)) for key, names in uses.items() for name in names
    ):
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


_REPO = "/api/{kind}/{namespace}/{name}"
ROUTES = [
    route("GET", "/api/{kind}", listing),
    route("GET", _REPO, info),
    route("GET", f"{_REPO}/revision/{{revision}}", info),
    route("GET", "/api/{kind}/{name}", without_namespace),
    route("GET", "/api/{kind}/{name}/revision/{revision}", without_namespace),
    route("GET", "/{name}/resolve/{revision}/{path:rest}", without_namespace),
]
