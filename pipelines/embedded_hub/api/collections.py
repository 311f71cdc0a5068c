"""Collections: make, list, change, delete them and what is in them; and the page that shows one."""

from itertools import islice
from typing import Any, Literal
from urllib.parse import quote

from starlette.responses import JSONResponse, Response

from embedded_hub.database.accounts import RepoRow, new_id, valid_namespace
from embedded_hub.database.collections import Collection, Item
from embedded_hub.errors import HubError
from embedded_hub.request import Call
from embedded_hub.routing import route
from embedded_hub.web.pages import html, shown

PAGE_SIZE, IN_LISTS = 100, 4
TITLE, DESCRIPTION, NOTE, ITEMS = 60, 150, 500, 1000
"""Most characters, and most items in one collection."""
REPOSITORIES = {"model": "models", "dataset": "datasets", "space": "spaces"}


def create(call: Call) -> Response:
    """Make an empty collection."""
    title, owner = _text(call, "title", TITLE), str(call.json.get("namespace") or call.who().user)
    private = call.switch("private")
    if not title or not valid_namespace(owner):
        raise HubError(400, "A collection needs a title, and a user or an organisation that owns it.")
    if not call.who().may_write(owner):
        raise HubError(403, f"The token {call.who().token_name!r} may not create collections under {owner}.")
    made = call.hub.collections.add(owner, title, _text(call, "description", DESCRIPTION), private)
    if made is None:
        there = call.hub.collections.titled(owner, title)
        raise HubError(409, f"{owner} has a collection {title!r} already.", slug=there.slug if there else "")
    return JSONResponse(_described(call, made))


def listing(call: Call) -> Response:
    """The collections that the caller may see, by owner and by what is in them, page by page."""
    query = call.request.query_params
    owners, wanted = {one.lower() for one in query.getlist("owner")}, query.getlist("item")
    found = [one for one in call.hub.collections.all() if _visible(call, one)]
    if owners:
        found = [one for one in found if one.owner.lower() in owners]
    if wanted:
        found = [one for one in found if _holds(call, one, wanted)]
    start, size = call.number("cursor", 0), min(max(call.number("limit", PAGE_SIZE), 1), PAGE_SIZE)
    page = [_described(call, one, IN_LISTS) for one in found[start : start + size]]
    for one in page:
        del one["position"]  # clients number the list themselves
    headers = call.next_page("cursor", start + size) if start + size < len(found) else {}
    return JSONResponse(page, headers=headers)


def details(call: Call) -> Response:
    """One collection with everything in it that the caller may see."""
    return JSONResponse(_described(call, _the(call)))


def change(call: Call) -> Response:
    """Change title, description, visibility or theme."""
    one = _the(call, "write")
    title = _text(call, "title", TITLE) or one.title
    description = _text(call, "description", DESCRIPTION) if "description" in call.json else one.description
    theme = _text(call, "theme", 20) or one.theme
    if not call.hub.collections.change(one, title, description, call.switch("private", one.private), theme):
        raise HubError(409, f"{one.owner} has a collection {title!r} already.")
    return JSONResponse({"success": True, "data": _described(call, _the(call))})


def delete(call: Call) -> Response:
    """Delete a collection."""
    call.hub.collections.remove(_the(call, "write"))
    return JSONResponse({"success": True})


def add_item(call: Call) -> Response:
    """Put a repository or a paper into a collection."""
    one, wanted = _the(call, "write"), call.json.get("item")
    type_, id_ = (str(wanted.get("type")), str(wanted.get("id"))) if isinstance(wanted, dict) else ("None", "")
    note = _text(call, "note", NOTE) or None
    if len(call.hub.collections.items(one)) >= ITEMS:
        raise HubError(400, f"A collection holds at most {ITEMS} items.")
    if type_ in REPOSITORIES:
        namespace, _, name = id_.partition("/")
        item = Item(new_id(), type_, call.find(REPOSITORIES[type_], namespace, name).row.id, None, note)
    elif type_ == "paper" and 0 < len(id_) <= 40:
        item = Item(new_id(), type_, None, id_, note)
    else:
        raise HubError(501, f"A collection here holds models, datasets, spaces and papers, no {type_}.")
    if not call.hub.collections.add_item(one, item):
        raise HubError(409, f"{id_} is in the collection {one.title!r} already.")
    return JSONResponse(_described(call, one))


def change_item(call: Call) -> Response:
    """Change an item's note or its place."""
    one = _the(call, "write")
    position = call.json.get("position")
    if position is not None and (type(position) is not int or not 0 <= position <= ITEMS):
        raise HubError(400, f"position is {position!r}: a place in the list is expected, from 0.")
    note = _text(call, "note", NOTE) if "note" in call.json else None
    call.hub.collections.change_item(one, _item(call, one), note, position)
    return JSONResponse({"success": True})


def delete_item(call: Call) -> Response:
    """Take an item out of a collection."""
    one = _the(call, "write")
    call.hub.collections.remove_item(one, _item(call, one))
    return JSONResponse({"success": True})


def page(call: Call) -> Response:
    """The collection for people."""
    one = _the(call)
    items = [(item, _address(item, row)) for item, row in _seen(call, one)]
    return html("collection.html", call, one=one, items=items)


def _the(call: Call, need: Literal["read", "write"] = "read") -> Collection:
    """The collection of the path; not there for those who may not see it."""
    one = call.hub.collections.find(call.param("namespace"), call.param("name"))
    if one is None or not _visible(call, one):
        raise HubError(404, "There is no such collection on this Hub, or this token may not see it.")
    if need == "write" and not call.who().may_write(one.owner):
        raise HubError(403, f"The token {call.who().token_name!r} may not change collections of {one.owner}.")
    return one


def _item(call: Call, one: Collection) -> Item:
    found = next((item for item in call.hub.collections.items(one) if item.id == call.param("oid")), None)
    if found is None:
        raise HubError(404, "There is no such item in this collection.")
    return found


def _visible(call: Call, one: Collection) -> bool:
    return not one.private or (call.account is not None and call.account.may_read(one.owner))


def _seen(call: Call, one: Collection) -> list[tuple[Item, RepoRow | None]]:
    """The items whose repository is still there and that the caller may see."""
    items = call.hub.collections.items(one)
    rows = [(item, call.hub.accounts.repo_of_id(item.repo) if item.repo else None) for item in items]
    return [(item, row) for item, row in rows if item.paper or (row and call.may_read(row))]


def _holds(call: Call, one: Collection, wanted: list[str]) -> bool:
    names = [f"{row.kind}/{row.full_name}" if row else f"papers/{item.paper}" for item, row in _seen(call, one)]
    return not {name.lower() for name in wanted}.isdisjoint(name.lower() for name in names)


def _address(item: Item, row: RepoRow | None) -> tuple[str, str]:
    """An item's name and where it is."""
    if row is None:
        return f"arXiv {item.paper}", f"https://arxiv.org/abs/{quote(item.paper or '')}"
    return row.full_name, f"/{'' if row.kind == 'models' else row.kind + '/'}{quote(row.full_name)}"


def _described(call: Call, one: Collection, most: int = ITEMS) -> dict[str, Any]:
    items = []
    for position, (item, row) in enumerate(islice(_seen(call, one), most)):
        known: dict[str, Any] = {"_id": item.id, "type": item.type, "position": position}
        known |= {"id": row.full_name, "author": row.namespace, "private": row.private} if row else {"id": item.paper}
        items.append(known | ({"note": {"text": item.note, "html": item.note}} if item.note else {}))
    found = {"slug": one.slug, "title": one.title, "description": one.description, "lastUpdated": one.updated}
    owner = {"name": one.owner, "fullname": one.owner, "type": "org"}
    about = {"owner": owner, "private": one.private, "theme": one.theme, "position": 0, "upvotes": 0, "gating": False}
    return found | about | {"items": items}


def _text(call: Call, key: str, most: int) -> str:
    value = call.json.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most or not value.replace("\n", " ").replace("\t", " ").isprintable():
        raise HubError(400, f"{key} should be text of at most {most} characters.")
    return value.strip()


_ONE = "/api/collections/{namespace}/{name}"
ROUTES = [
    route("GET", "/api/collections", listing),
    route("POST", "/api/collections", create),
    route("GET", _ONE, details),
    route("PATCH", _ONE, change),
    route("DELETE", _ONE, delete),
    route("POST", f"{_ONE}/items", add_item),
    route("PATCH", f"{_ONE}/items/{{oid}}", change_item),
    route("DELETE", f"{_ONE}/items/{{oid}}", delete_item),
    route("GET", "/collections/{namespace}/{name}", shown(page)),
]
