"""Pages for people: lists of repositories, a card with its pictures and first rows, files, commits.

All text on them was written by others: the templates escape it, and `markdown` makes cards safe.
"""

from itertools import islice
from typing import Any
from urllib.parse import quote, urlencode

from starlette.responses import Response

from embedded_hub.database.accounts import KINDS, RepoRow
from embedded_hub.errors import HubError
from embedded_hub.request import HubRequest, OpenRepository
from embedded_hub.routing import Endpoint, register_segment, route
from embedded_hub.store import card_metadata
from embedded_hub.store.git_reader import HEADS, TAGS, Entry
from embedded_hub.web import data_files, markdown
from embedded_hub.web.rendering import html, stylesheet, with_error_page

ON_HOME, PAGE_SIZE, COMMITS, CHANGES = 12, 50, 50, 200
SHOWN_TEXT = 200_000
"""Bytes of the longest file that is displayed; longer ones are offered for download."""
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg")


def home(request: HubRequest) -> Response:
    """Show the newest repositories of every kind, or the matches of a search."""
    search = request.http.query_params.get("search", "")
    lists = [(kind, *_matches(request, kind, search, 0, ON_HOME)) for kind in KINDS]
    return html("home.html", request, lists=lists, search=search)


def listing(request: HubRequest) -> Response:
    """Show all repositories of one kind, page by page."""
    kind, search, start = request.param("kind"), request.http.query_params.get("search", ""), request.number("start", 0)
    rows, more = _matches(request, kind, search, start, PAGE_SIZE)
    following = "?" + urlencode({"search": search, "start": start + PAGE_SIZE}) if more else ""
    return html("home.html", request, lists=[(kind, rows, False)], search=search, following=following)


def namespace(request: HubRequest) -> Response:
    """Show the repositories of a user or an organisation."""
    name = request.param("namespace")
    lists = [(kind, *_matches(request, kind, "", 0, PAGE_SIZE, name)) for kind in KINDS]
    if not any(rows for _, rows, _ in lists):
        raise HubError(404, f"{name} does not have any public repositories here.")
    return html("home.html", request, lists=lists, search="", owner=name)


def card(request: HubRequest) -> Response:
    """Show a repository's card, and a dataset's first rows."""
    repository = request.repository()
    commit = repository.commit("main")
    readme = repository.git.text(commit, "README.md") or ""
    metadata, problem = _metadata(readme)
    is_dataset = repository.row.kind == "datasets"
    tables, unread = data_files.preview(request, repository, commit, metadata) if is_dataset else ([], [])
    return html(
        "repository.html", request, **_header(repository, "main", "card"), problem=problem,
        card=markdown.render(readme, repository.address, "main"), cut=len(readme) > markdown.LIMIT,
        links=_links(metadata), words=_words(metadata), tables=tables, unread=unread,
    )  # fmt: skip


def tree(request: HubRequest) -> Response:
    """Show a folder."""
    repository, revision, start = request.repository(), request.param("revision"), request.number("start", 0)
    commit = repository.commit(revision)
    folder = repository.entry(commit, str(request.http.path_params.get("path", "")).strip("/"))
    if not folder.folder:
        return blob(request)
    entries = repository.git.children(folder)
    page = entries[start : start + 20 * PAGE_SIZE]
    pointers = request.pointers(repository, page)
    rows = [(entry, pointers[entry.path].size if entry.path in pointers else entry.size) for entry in page]
    following = f"?start={start + len(page)}" if start + len(page) < len(entries) else ""
    refs = [name for prefix in (HEADS, TAGS) for name in islice(repository.git.refs(prefix), PAGE_SIZE)]
    header = _header(repository, revision, "files") | _path(folder)
    tip = repository.git.commit_facts(commit)
    return html("tree.html", request, **header, rows=rows, following=following, refs=refs, tip=tip)


def blob(request: HubRequest) -> Response:
    """Show a file: short text or a picture, else a link to download it."""
    repository, revision, path = request.repository(), request.param("revision"), request.param("path").strip("/")
    entry = repository.entry(repository.commit(revision), path)
    if entry.folder:
        return tree(request)
    pointer = request.pointers(repository, [entry]).get(path)
    text = None
    if not pointer and entry.size <= SHOWN_TEXT:
        content = repository.git.read(entry.oid)
        text = None if b"\0" in content else content.decode(errors="replace")
    size, sha256 = (pointer.size, pointer.oid) if pointer else (entry.size, None)
    header = _header(repository, revision, "files") | _path(entry)
    picture = path.lower().endswith(PICTURES)
    return html("blob.html", request, **header, text=text, picture=picture, size=size, sha256=sha256)


def commits(request: HubRequest) -> Response:
    """Show the history of a revision."""
    repository, revision, start = request.repository(), request.param("revision"), request.number("start", 0)
    page = list(islice(repository.git.history(repository.commit(revision)), start, start + COMMITS + 1))
    following = f"?start={start + COMMITS}" if len(page) > COMMITS else ""
    header = _header(repository, revision, "commits")
    return html("commits.html", request, **header, commits=page[:COMMITS], following=following)


def commit(request: HubRequest) -> Response:
    """Show one commit: its message and the files it changed."""
    repository = request.repository()
    oid = repository.commit(request.param("revision"))
    facts = repository.git.commit_facts(oid)
    parent = facts.parents[0] if facts.parents else None
    differences = repository.git.changes(parent, oid)
    changes = [(path, "changed" if old and new else "added" if new else "deleted") for path, old, new in differences]
    header = _header(repository, oid, "commits")
    return html("commit.html", request, **header, facts=facts, changes=changes[:CHANGES], count=len(changes))


def _matches(
    request: HubRequest, kind: str, search: str, start: int, size: int, owner: str | None = None
) -> tuple[list[dict[str, Any]], bool]:
    """Return one page of the repositories whose names match, and whether more follow."""
    words = search.lower().split()
    rows = (row for row in request.context.accounts.repos(kind, owner) if request.may_read(row))
    named = (row for row in rows if all(word in row.full_name.lower() for word in words))
    page = list(islice(named, start, start + size + 1))
    summaries = (_summary(request, row) for row in page[:size])
    return [summary for summary in summaries if summary], len(page) > size


def _summary(request: HubRequest, row: RepoRow) -> dict[str, Any] | None:
    try:
        repository = request.find_repository(row.kind, row.namespace, row.name)
        head = repository.commit("main")
    except HubError:
        return None  # deleted at this moment
    metadata, _ = _metadata(repository.git.text(head, "README.md") or "")
    return {"repository": repository, "tip": repository.git.commit_facts(head), "words": _words(metadata)[:6]}


def _metadata(readme: str) -> tuple[dict[str, Any], str]:
    try:
        return card_metadata.metadata(readme), ""
    except card_metadata.BadCard as error:
        return {}, str(error)


def _words(metadata: dict[str, Any]) -> list[str]:
    keys = ("library_name", "pipeline_tag", "license", "language", "tags")
    values = [word for key in keys for word in card_metadata.words(metadata.get(key))]
    words = [str(word)[:60] for word in values if isinstance(word, str | int)]
    words = [word for word in words if not word.startswith(("base_model:", "dataset:"))]  # `_links` has those
    return list(dict.fromkeys(words))[:40]


def _links(metadata: dict[str, Any]) -> list[tuple[str, str, str]]:
    relation = metadata.get("base_model_relation")
    base = f"{relation} of" if isinstance(relation, str) else "made from"
    fields = [(base, "", "base_model"), ("dataset", "datasets/", "datasets"), ("model", "", "models")]
    links: list[tuple[str, str, str]] = []
    for label, prefix, key in fields:
        names = [str(name) for name in card_metadata.words(metadata.get(key))]
        links += [(label, name[:120], f"/{prefix}{quote(name)}") for name in names if name.count("/") == 1]
    return links[:20]


def _header(repository: OpenRepository, revision: str, tab: str) -> dict[str, Any]:
    return {"repository": repository, "address": f"/{quote(repository.address)}", "revision": revision, "tab": tab}


def _path(entry: Entry) -> dict[str, Any]:
    parts = entry.path.split("/") if entry.path else []
    return {"path": entry.path, "parts": [(name, "/".join(parts[: n + 1])) for n, name in enumerate(parts)]}


# A namespace, which is not a word that begins other addresses.
register_segment("owner", "(?!(?:api|models|datasets|spaces|static|collections)(?:/|$))[^/]+")

_REPO = "/{prefix}{namespace:owner}/{name}"
_PAGES: list[tuple[str, Endpoint]] = [
    ("/", home),
    ("/{kind}", listing),
    ("/{namespace:owner}", namespace),
    (_REPO, card),
    (f"{_REPO}/tree/{{revision}}", tree),
    (f"{_REPO}/tree/{{revision}}/{{path:rest}}", tree),
    (f"{_REPO}/blob/{{revision}}/{{path:rest}}", blob),
    (f"{_REPO}/commits/{{revision}}", commits),
    (f"{_REPO}/commit/{{revision}}", commit),
]
ROUTES = [
    route("GET", "/static/style.css", stylesheet),
    *(route("GET", path, with_error_page(page)) for path, page in _PAGES),
]
