"""Collections: create, list, change and delete them and their items; and the page that shows one."""

from itertools import islice
from typing import Any, Literal
from urllib.parse import quote

from starlette.responses import JSONResponse, Response

from embedded_hub.database.accounts import RepoRow, valid_namespace
from embedded_hub.database.collections import Collection, Item
from embedded_hub.database.connection import new_id
from embedded_hub.errors import HubError
from embedded_hub.request import HubRequest
from embedded_hub.routing import route
from embedded_hub.web.rendering import html, with_error_page

PAGE_SIZE, IN_LISTS = 100, 4
TITLE, DESCRIPTION, NOTE, ITEMS = 60, 150, 500, 1000
"""Most characters, and most items in one collection."""
REPOSITORIES = {"model": "models", "dataset": "datasets", "space": "spaces"}


def create(request: HubRequest) -> Response:
    """Create an empty collection."""
    title, owner = _text(request, "title", TITLE), str(request.json.get("namespace") or request.caller().user)
    private, collections = request.boolean("private"), request.context.collections
    if not title or not valid_namespace(owner):
        raise HubError(400, "A collection needs a title, and a user or an organisation that owns it.")
    request.check_may_write(owner, f"create collections under {owner}")
    collection = collections.add(owner, title, _text(request, "description", DESCRIPTION), private)
    if collection is None:
        existing = collections.titled(owner, title)
        raise HubError(409, f"{owner} has a collection {title!r} already.", slug=existing.slug if existing else "")
    return JSONResponse(_described(request, collection))


def listing(request: HubRequest) -> Response:
    """List the collections that the caller may see, by owner and by item, page by page."""
    query = request.http.query_params
    owners, item_names = {owner.lower() for owner in query.getlist("owner")}, query.getlist("item")
    collections = [collection for collection in request.context.collections.all() if _visible(request, collection)]
    if owners:
        collections = [collection for collection in collections if collection.owner.lower() in owners]
    if item_names:
        collections = [collection for collection in collections if _holds(request, collection, item_names)]
    page, headers = request.page(collections, PAGE_SIZE)
    descriptions = [_described(request, collection, IN_LISTS) for collection in page]
    for description in descriptions:
        del description["position"]  # clients number the list themselves
    return JSONResponse(descriptions, headers=headers)


def details(request: HubRequest) -> Response:
    """Describe one collection with the items that the caller may see."""
    return JSONResponse(_described(request, _find(request)))


def change(request: HubRequest) -> Response:
    """Change title, description, visibility or theme."""
    old = _find(request, "write")
    title, theme = _text(request, "title", TITLE) or old.title, _text(request, "theme", 20) or old.theme
    description = _text(request, "description", DESCRIPTION) if "description" in request.json else old.description
    private = request.boolean("private", old.private)
    if not request.context.collections.change(old, title, description, private, theme):
        raise HubError(409, f"{old.owner} has a collection {title!r} already.")
    return JSONResponse({"success": True, "data": _described(request, _find(request))})


def delete(request: HubRequest) -> Response:
    """Delete a collection."""
    request.context.collections.remove(_find(request, "write"))
    return JSONResponse({"success": True})


def add_item(request: HubRequest) -> Response:
    """Add a repository or a paper to a collection."""
    collection, body = _find(request, "write"), request.json.get("item")
    type_, id_ = (str(body.get("type")), str(body.get("id"))) if isinstance(body, dict) else ("None", "")
    note = _text(request, "note", NOTE) or None
    if len(request.context.collections.items(collection)) >= ITEMS:
        raise HubError(400, f"A collection holds at most {ITEMS} items.")
    if type_ in REPOSITORIES:
        namespace, _, name = id_.partition("/")
        row = request.find_repository(REPOSITORIES[type_], namespace, name).row
        item = Item(new_id(), type_, row.id, None, note)
    elif type_ == "paper" and 0 < len(id_) <= 40:
        item = Item(new_id(), type_, None, id_, note)
    else:
        raise HubError(501, f"A collection here holds models, datasets, spaces and papers, not {type_}.")
    if not request.context.collections.add_item(collection, item):
        raise HubError(409, f"{id_} is in the collection {collection.title!r} already.")
    return JSONResponse(_described(request, collection))


def change_item(request: HubRequest) -> Response:
    """Change an item's note or position."""
    collection = _find(request, "write")
    position = request.json.get("position")
    if position is not None and (type(position) is not int or not 0 <= position <= ITEMS):
        raise HubError(400, f"position is {position!r}: an index in the list is expected, from 0.")
    note = _text(request, "note", NOTE) if "note" in request.json else None
    request.context.collections.change_item(collection, _item(request, collection), note, position)
    return JSONResponse({"success": True})


def delete_item(request: HubRequest) -> Response:
    """Remove an item from a collection."""
    collection = _find(request, "write")
    request.context.collections.remove_item(collection, _item(request, collection))
    return JSONResponse({"success": True})


def page(request: HubRequest) -> Response:
    """Show the collection to people."""
    collection = _find(request)
    items = [(item, _address(item, row)) for item, row in _visible_items(request, collection)]
    return html("collection.html", request, collection=collection, items=items)


def _find(request: HubRequest, need: Literal["read", "write"] = "read") -> Collection:
    """Return the collection of the path; 404 if the caller may not see it, 403 if it may not write."""
    collection = request.context.collections.find(request.param("namespace"), request.param("name"))
    if collection is None or not _visible(request, collection):
        raise HubError(404, "There is no such collection on this Hub, or this token may not see it.")
    if need == "write":
        request.check_may_write(collection.owner, f"change collections of {collection.owner}")
    return collection


def _item(request: HubRequest, collection: Collection) -> Item:
    items = request.context.collections.items(collection)
    item = next((item for item in items if item.id == request.param("oid")), None)
    if item is None:
        raise HubError(404, "There is no such item in this collection.")
    return item


def _visible(request: HubRequest, collection: Collection) -> bool:
    return not collection.private or (request.account is not None and request.account.may_read(collection.owner))


def _visible_items(request: HubRequest, collection: Collection) -> list[tuple[Item, RepoRow | None]]:
    """Return the papers, and the items whose repository exists and may be seen by the caller."""
    items = request.context.collections.items(collection)
    rows = [(item, request.context.accounts.repo_of_id(item.repo) if item.repo else None) for item in items]
    return [(item, row) for item, row in rows if item.paper or (row and request.may_read(row))]


def _holds(request: HubRequest, collection: Collection, item_names: list[str]) -> bool:
    items = _visible_items(request, collection)
    names = [f"{row.kind}/{row.full_name}" if row else f"papers/{item.paper}" for item, row in items]
    return not {name.lower() for name in item_names}.isdisjoint(name.lower() for name in names)


def _address(item: Item, row: RepoRow | None) -> tuple[str, str]:
    if row is None:
        return f"arXiv {item.paper}", f"https://arxiv.org/abs/{quote(item.paper or '')}"
    return row.full_name, f"/{quote(row.address)}"


def _described(request: HubRequest, collection: Collection, most: int = ITEMS) -> dict[str, Any]:
    items = []
    for position, (item, row) in enumerate(islice(_visible_items(request, collection), most)):
        description: dict[str, Any] = {"_id": item.id, "type": item.type, "position": position}
        if row:
            description |= {"id": row.full_name, "author": row.namespace, "private": row.private}
        else:
            description |= {"id": item.paper}
        items.append(description | ({"note": {"text": item.note, "html": item.note}} if item.note else {}))
    return {
        "slug": collection.slug, "title": collection.title, "description": collection.description,
        "lastUpdated": collection.updated, "private": collection.private, "theme": collection.theme, "position": 0,
        "owner": {"name": collection.owner, "fullname": collection.owner, "type": "org"}, "upvotes": 0,
        "gating": False, "items": items,
    }  # fmt: skip


def _text(request: HubRequest, key: str, most: int) -> str:
    text = request.json.get(key)
    if text is None:
        return ""
    if not isinstance(text, str) or len(text) > most or not text.replace("\n", " ").replace("\t", " ").isprintable():
        raise HubError(400, f"{key} should be text of at most {most} characters.")
    return text.strip()


_COLLECTION = "/api/collections/{namespace}/{name}"
ROUTES = [
    route("GET", "/api/collections", listing),
    route("POST", "/api/collections", create),
    route("GET", _COLLECTION, details),
    route("PATCH", _COLLECTION, change),
    route("DELETE", _COLLECTION, delete),
    route("POST", f"{_COLLECTION}/items", add_item),
    route("PATCH", f"{_COLLECTION}/items/{{oid}}", change_item),
    route("DELETE", f"{_COLLECTION}/items/{{oid}}", delete_item),
    route("GET", "/collections/{namespace}/{name}", with_error_page(page)),
]
