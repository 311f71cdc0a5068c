"""Facts about a repository, and lists of repositories."""

import re
from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse, Response

from embedded_hub.api import spaces
from embedded_hub.clock import written
from embedded_hub.database.accounts import RepoRow
from embedded_hub.errors import HubError
from embedded_hub.request import HubRequest, OpenRepository
from embedded_hub.routing import REPO, route
from embedded_hub.store import card_metadata

PAGE_SIZE = 1000


def info(request: HubRequest) -> Response:
    """Return the facts about a repository at its head or at a revision."""
    repository = request.repository()
    commit = repository.commit(request.http.path_params.get("revision") or "main")
    facts = _facts(request, repository, commit)
    expand = request.http.query_params.getlist("expand")
    if expand:
        return JSONResponse({key: compute() for key, compute in facts.items() if key in {"_id", "id", *expand}})
    facts.pop("config", None)
    if request.flag("blobs"):
        facts["siblings"] = lambda: _siblings(request, repository, commit)
    return JSONResponse({key: compute() for key, compute in facts.items()})


def without_namespace(request: HubRequest) -> Response:
    """Refuse old names such as `gpt2`, which exist on the real Hub only."""
    raise request.not_found((request.http.path_params.get("kind") or "models"), "", request.param("name"))


def listing(request: HubRequest) -> Response:
    """List the repositories of a kind that the caller may see, filtered, sorted, page by page."""
    query = request.http.query_params
    unknown = sorted({"apps", "inference", "inference_provider", "num_parameters"} & set(query))
    if unknown:
        raise HubError(501, f"The embedded Hub's lists cannot be filtered by {', '.join(unknown)}.")
    rows = request.context.accounts.repos(request.param("kind"), query.get("author"))
    matches = [facts for row in rows if request.may_read(row) and (facts := _matching(request, row))]
    order = query.get("sort")
    if order in ("createdAt", "lastModified"):
        matches.sort(key=lambda facts: str(facts[order]()), reverse=query.get("direction", "-1") == "-1")
    page, headers = request.page(matches, PAGE_SIZE)
    keys = _list_keys(request)
    descriptions = [{key: compute() for key, compute in facts.items() if key in keys} for facts in page]
    return JSONResponse(descriptions, headers=headers)


Facts = dict[str, Callable[[], Any]]
"""Key of the answer -> function that computes its value: a list needs few keys, and a card is read only on demand."""


def _facts(request: HubRequest, repository: OpenRepository, commit: str) -> Facts:
    row, git = repository.row, repository.git

    def metadata() -> dict[str, Any]:
        try:
            return card_metadata.metadata(git.text(commit, "README.md") or "")
        except card_metadata.BadCard:
            return {}  # a bad card must not take the repository out of every list

    def library() -> str | None:
        names = {path for path, _ in git.files(commit)}
        guess = "peft" if "adapter_config.json" in names else "transformers" if "config.json" in names else None
        return metadata().get("library_name") or guess

    def tags() -> list[str]:
        card_tags = card_metadata.tags(metadata())
        guess = library() if row.kind == "models" else None
        return card_tags if not guess or guess in card_tags else [guess, *card_tags]

    facts: Facts = {
        "_id": lambda: f"{row.id:024x}",
        "id": lambda: row.full_name,
        "author": lambda: row.namespace,
        "sha": lambda: commit,
        "lastModified": lambda: written(git.commit_facts(commit).when),
        "createdAt": lambda: row.created,
        "private": lambda: row.private,
        "gated": lambda: False,
        "disabled": lambda: False,
        "downloads": lambda: 0,
        "likes": lambda: 0,
        "tags": tags,
        "cardData": metadata,
        "siblings": lambda: [{"rfilename": path} for path, _ in git.files(commit)],
    }
    if row.kind == "models":
        facts |= {"modelId": lambda: row.full_name, "library_name": library}
        facts |= {"pipeline_tag": lambda: metadata().get("pipeline_tag"), "config": dict}
    if row.kind == "spaces":
        subdomain = re.sub("[^a-z0-9-]", "-", row.full_name.lower().replace("/", "-"))
        runtime = request.context.spaces.runtime(row.id)
        facts |= {"sdk": lambda: row.sdk, "subdomain": lambda: subdomain, "runtime": lambda: spaces.described(runtime)}
        facts["host"] = lambda: f"http://127.0.0.1:{runtime.port}" if runtime.port else None
    return facts


def _siblings(request: HubRequest, repository: OpenRepository, commit: str) -> list[dict[str, Any]]:
    entries = [entry for entry in repository.git.below(repository.entry(commit, "")) if not entry.folder]
    pointers = request.pointers(repository, entries)
    siblings = []
    for entry in sorted(entries, key=lambda entry: entry.path):
        sibling: dict[str, Any] = {"rfilename": entry.path, "blobId": entry.oid, "size": entry.size}
        if entry.path in pointers:
            pointer = pointers[entry.path]
            sibling["size"] = pointer.size
            sibling["lfs"] = {"sha256": pointer.oid, "size": pointer.size, "pointerSize": entry.size}
        siblings.append(sibling)
    return siblings


def _matching(request: HubRequest, row: RepoRow) -> Facts | None:
    query = request.http.query_params
    if any(word.lower() not in row.full_name.lower() for word in query.getlist("search")):
        return None
    try:
        repository = request.find_repository(row.kind, row.namespace, row.name)
        facts = _facts(request, repository, repository.commit("main"))
    except HubError:
        return None  # deleted at this moment
    if any(word not in facts["tags"]() for word in query.getlist("filter")):
        return None
    for key in ("datasets", "models") if row.kind == "spaces" else ():
        names = card_metadata.words(facts["cardData"]().get(key)) if key in query else []
        if any(name not in names for name in query.getlist(key)):
            return None
    if query.get("pipeline_tag") and facts["pipeline_tag"]() != query["pipeline_tag"]:
        return None
    return None if request.flag("gated") else facts


def _list_keys(request: HubRequest) -> set[str]:
    expand = request.http.query_params.getlist("expand")
    if expand:
        return {"_id", "id", *expand}
    keys = {"_id", "id", "author", "modelId", "sha", "lastModified", "createdAt", "private", "gated", "downloads"}
    keys |= {"likes", "tags", "pipeline_tag", "library_name", "sdk"}
    if request.flag("full"):
        keys |= {"siblings", "cardData", "disabled"}
    return keys | {key for key in ("cardData", "config") if request.flag(key)}


ROUTES = [
    route("GET", "/api/{kind}", listing),
    route("GET", REPO, info),
    route("GET", f"{REPO}/revision/{{revision}}", info),
    route("GET", "/api/{kind}/{name}", without_namespace),
    route("GET", "/api/{kind}/{name}/revision/{revision}", without_namespace),
    route("GET", "/{name}/resolve/{revision}/{path:rest}", without_namespace),
]
