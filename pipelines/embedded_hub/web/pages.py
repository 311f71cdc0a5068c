"""Pages for people: what there is, a repository's card with its pictures and first rows, files, commits.

Everything that they show was written by somebody else: templates escape it, `markdown` tames cards, and no page may
run a script.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from itertools import islice
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.convertors import register_url_convertor
from starlette.responses import Response

from embedded_hub.database.accounts import KINDS, RepoRow
from embedded_hub.errors import HubError
from embedded_hub.request import Call, Here
from embedded_hub.routing import Page, Segment, route
from embedded_hub.store import card_metadata
from embedded_hub.store.git_reader import HEADS, TAGS, CommitFacts, Entry
from embedded_hub.web import data_files, markdown

ON_HOME, PAGE_SIZE, COMMITS, CHANGES = 12, 50, 50, 200
SHOWN_TEXT = 200_000
"""Bytes of the longest file that is shown and not only offered for download."""
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_templates = Environment(
    loader=PackageLoader("embedded_hub.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip
_STYLE = (_templates.loader.get_source(_templates, "style.css")[0] if _templates.loader else "").encode()
_templates.globals["style"] = f"/static/style.css?{hashlib.sha256(_STYLE).hexdigest()[:8]}"


def home(call: Call) -> Response:
    """The newest repositories of every kind, or those that a search finds."""
    search = call.request.query_params.get("search", "")
    lists = [(kind, *_found(call, kind, search, 0, ON_HOME)) for kind in KINDS]
    return html("home.html", call, lists=lists, search=search)


def listing(call: Call) -> Response:
    """All repositories of one kind, page by page."""
    kind, search, start = call.param("kind"), call.request.query_params.get("search", ""), call.number("start", 0)
    rows, more = _found(call, kind, search, start, PAGE_SIZE)
    following = "?" + urlencode({"search": search, "start": start + PAGE_SIZE}) if more else ""
    return html("home.html", call, lists=[(kind, rows, False)], search=search, following=following)


def namespace(call: Call) -> Response:
    """What a user or an organisation has."""
    name = call.param("namespace")
    lists = [(kind, *_found(call, kind, "", 0, PAGE_SIZE, name)) for kind in KINDS]
    if not any(rows for _, rows, _ in lists):
        raise HubError(404, f"{name} has no repositories here, or none that are public.")
    return html("home.html", call, lists=lists, search="", owner=name)


def repository(call: Call) -> Response:
    """The card, and a dataset's first rows."""
    here = call.here()
    commit, readme = here.commit("main"), here.git.text(here.commit("main"), "README.md") or ""
    metadata, problem = _metadata(readme)
    tables, left = data_files.preview(call, here, commit, metadata) if here.row.kind == "datasets" else ([], [])
    return html(
        "repository.html", call, **_about(here, "main", "card"), card=markdown.render(readme, here.address, "main"),
        cut=len(readme) > markdown.LIMIT, links=_links(metadata), words=_words(metadata), problem=problem,
        tables=tables, left=left,
    )  # fmt: skip


def tree(call: Call) -> Response:
    """A folder."""
    here, revision, start = call.here(), call.param("revision"), call.number("start", 0)
    commit = here.commit(revision)
    folder = here.entry(commit, str(call.request.path_params.get("path", "")).strip("/"))
    if not folder.folder:
        return blob(call)
    entries = here.git.children(folder)
    page = entries[start : start + 20 * PAGE_SIZE]
    pointers = call.pointers(here, page)
    rows = [(one, pointers[one.path].size if one.path in pointers else one.size) for one in page]
    following = f"?start={start + len(page)}" if start + len(page) < len(entries) else ""
    refs = [*islice(here.git.refs(HEADS), PAGE_SIZE), *islice(here.git.refs(TAGS), PAGE_SIZE)]
    about = _about(here, revision, "files") | _path(folder)
    return html("tree.html", call, **about, rows=rows, following=following, refs=refs, tip=_dated(here, commit))


def blob(call: Call) -> Response:
    """A file: its text when it is short, a picture, or where to download it."""
    here, revision, path = call.here(), call.param("revision"), call.param("path").strip("/")
    entry = here.entry(here.commit(revision), path)
    if entry.folder:
        return tree(call)
    pointer = call.pointers(here, [entry]).get(path)
    text = None
    if not pointer and entry.size <= SHOWN_TEXT:
        data = here.git.read(entry.oid)
        text = None if b"\0" in data else data.decode(errors="replace")
    picture = path.lower().endswith(PICTURES)
    about = _about(here, revision, "files") | _path(entry)
    size = pointer.size if pointer else entry.size
    return html("blob.html", call, **about, text=text, picture=picture, size=size, sha256=pointer and pointer.oid)


def commits(call: Call) -> Response:
    """The history of a revision."""
    here, revision, start = call.here(), call.param("revision"), call.number("start", 0)
    found = list(islice(here.git.history(here.commit(revision)), start, start + COMMITS + 1))
    following = f"?start={start + COMMITS}" if len(found) > COMMITS else ""
    return html("commits.html", call, **_about(here, revision, "commits"), commits=found[:COMMITS], following=following)


def commit(call: Call) -> Response:
    """One commit: its message and the files it changed."""
    here = call.here()
    oid = here.commit(call.param("revision"))
    facts = here.git.commit_facts(oid)
    before = dict(here.git.files(facts.parents[0])) if facts.parents else {}
    after = dict(here.git.files(oid))
    changes = [
        (path, "added" if path not in before else "changed") for path in after if before.get(path) != after[path]
    ]
    changes += [(path, "deleted") for path in before if path not in after]
    about = _about(here, oid, "commits")
    return html("commit.html", call, **about, facts=facts, changes=sorted(changes)[:CHANGES], count=len(changes))


def stylesheet(call: Call) -> Response:
    """The one style sheet."""
    return Response(_STYLE, headers=HEADERS | {"Cache-Control": "max-age=86400"}, media_type="text/css")


def _found(
    call: Call, kind: str, search: str, start: int, size: int, owner: str | None = None
) -> tuple[list[dict[str, Any]], bool]:
    words = search.lower().split()
    rows = (row for row in call.hub.accounts.repos(kind, owner) if call.may_read(row))
    named = (row for row in rows if all(word in row.full_name.lower() for word in words))
    page = list(islice(named, start, start + size + 1))
    return [one for row in page[:size] if (one := _summary(call, row))], len(page) > size


def _summary(call: Call, row: RepoRow) -> dict[str, Any] | None:
    try:
        here = call.find(row.kind, row.namespace, row.name)
        head = here.commit("main")
    except HubError:
        return None  # deleted in this moment
    metadata, _ = _metadata(here.git.text(head, "README.md") or "")
    return {"here": here, "tip": _dated(here, head), "words": _words(metadata)[:6]}


def _metadata(readme: str) -> tuple[dict[str, Any], str]:
    try:
        return card_metadata.metadata(readme), ""
    except card_metadata.BadCard as error:
        return {}, str(error)


def _words(metadata: dict[str, Any]) -> list[str]:
    keys = ("library_name", "pipeline_tag", "license", "language", "tags")
    found = [str(one) for key in keys for one in card_metadata.words(metadata.get(key)) if isinstance(one, str | int)]
    found = [one for one in found if not one.startswith(("base_model:", "dataset:"))]  # these are links above
    return [one[:60] for one in dict.fromkeys(found)][:40]


def _links(metadata: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(what it is, its name, where it is) of the repositories that the metadata name."""
    relation = metadata.get("base_model_relation")
    base = f"{relation} of" if isinstance(relation, str) else "made from"
    wanted = [(base, "", "base_model"), ("dataset", "datasets/", "datasets"), ("model", "", "models")]
    names = [(what, start, str(one)) for what, start, key in wanted for one in card_metadata.words(metadata.get(key))]
    return [(what, name[:120], f"/{start}{quote(name)}") for what, start, name in names if name.count("/") == 1][:20]


def _about(here: Here, revision: str, tab: str) -> dict[str, Any]:
    return {"here": here, "address": f"/{quote(here.address)}", "revision": revision, "tab": tab}


def _path(entry: Entry) -> dict[str, Any]:
    parts = entry.path.split("/") if entry.path else []
    return {"path": entry.path, "parts": [(name, "/".join(parts[: n + 1])) for n, name in enumerate(parts)]}


def _dated(here: Here, oid: str) -> CommitFacts:
    return here.git.commit_facts(oid)


def html(template: str, call: Call, status: int = 200, **values: Any) -> Response:
    """A page, with the headers that keep it from doing anything."""
    shown = {"following": "", "owner": "", "search": "", "hub": call.base, "who": call.account} | values
    return Response(_templates.get_template(template).render(shown), status, HEADERS, "text/html; charset=utf-8")


def _size(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    power = min(len(str(size)) - 1, 14) // 3
    amount = size / 1000**power
    return (f"{amount:.0f}" if amount >= 99.95 else f"{amount:.3g}") + f" {' kMGT'[power]}B"


_templates.filters |= {
    "segment": lambda text: quote(text, safe=""),
    "path": lambda text: quote(text),
    "size": _size,
    "time": lambda when: datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M"),
    "title": lambda message: message.partition("\n")[0][:200] or "(no message)",
}


class _Owner(Segment):
    """A namespace: none of the words that begin other addresses."""

    regex = r"(?!(?:api|models|datasets|spaces|static|collections)(?:/|$))[^/]+"


register_url_convertor("owner", _Owner())


def shown(page: Page) -> Page:
    """Refusals as a page, for browsers."""

    @wraps(page)
    def with_error_page(call: Call) -> Response:
        try:
            return page(call)
        except HubError as error:
            response = html("error.html", call, error.status, error=error)
            response.headers.update({key: value for key, value in error.response().headers.items() if key[:2] == "x-"})
            return response

    return with_error_page


_REPO = "/{prefix}{namespace:owner}/{name}"
_PAGES: list[tuple[str, Callable[[Call], Response]]] = [
    ("/", home),
    ("/{kind}", listing),
    ("/{namespace:owner}", namespace),
    (_REPO, repository),
    (f"{_REPO}/tree/{{revision}}", tree),
    (f"{_REPO}/tree/{{revision}}/{{path:rest}}", tree),
    (f"{_REPO}/blob/{{revision}}/{{path:rest}}", blob),
    (f"{_REPO}/commits/{{revision}}", commits),
    (f"{_REPO}/commit/{{revision}}", commit),
]
ROUTES = [route("GET", "/static/style.css", stylesheet), *(route("GET", path, shown(page)) for path, page in _PAGES)]
