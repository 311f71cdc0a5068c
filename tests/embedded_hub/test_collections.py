"""Collections, as clients create and read them."""

from collections.abc import Callable

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from embedded_hub.launch import Running
from tests.support.wire import Wire


@pytest.fixture
def title(name: str) -> str:
    return f"Everything of {name.split('/')[1]}"


def test_a_collection_is_made_filled_read_and_deleted(api: HfApi, name: str, title: str) -> None:
    for kind in ("model", "dataset", "space"):
        api.create_repo(name, repo_type=kind, space_sdk="static" if kind == "space" else None)
    collection = api.create_collection(title, namespace="lab", description="What there is")
    assert collection.slug.startswith("lab/everything-of-r")
    assert (collection.owner["name"], collection.items) == ("lab", [])
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_collection(title, namespace="lab")
    assert api.create_collection(title, namespace="lab", exists_ok=True).slug == collection.slug
    for kind, note in (("model", "first"), ("dataset", None), ("space", None)):
        api.add_collection_item(collection.slug, name, kind, note=note)
    filled = api.add_collection_item(collection.slug, "2604.08986", "paper")
    assert [(item.item_type, item.item_id, item.position, item.note) for item in filled.items] == [
        ("model", name, 0, "first"), ("dataset", name, 1, None), ("space", name, 2, None),
        ("paper", "2604.08986", 3, None),
    ]  # fmt: skip
    with pytest.raises(HfHubHTTPError, match="409"):
        api.add_collection_item(collection.slug, name, "dataset")
    assert len(api.add_collection_item(collection.slug, name, "dataset", exists_ok=True).items) == 4
    api.delete_collection(collection.slug)
    with pytest.raises(HfHubHTTPError, match="404"):
        api.get_collection(collection.slug)
    api.delete_collection(collection.slug, missing_ok=True)
    assert api.repo_exists(name)


def test_items_are_moved_noted_and_taken_out(api: HfApi, title: str) -> None:
    slug = api.create_collection(title, namespace="lab").slug
    for paper in "abc":
        items = api.add_collection_item(slug, paper, "paper").items
    last, first = items[2].item_object_id, items[0].item_object_id
    api.update_collection_item(slug, last, position=0, note="moved")
    api.delete_collection_item(slug, first)
    api.delete_collection_item(slug, first, missing_ok=True)
    items = api.get_collection(slug).items
    assert [(item.item_id, item.note) for item in items] == [("c", "moved"), ("b", None)]


def test_a_renamed_collection_is_found_by_its_old_address(api: HfApi, title: str) -> None:
    old = api.create_collection(title, namespace="lab", description="d").slug
    new = api.update_collection_metadata(old, title=f"{title}, renamed", private=True, theme="green")
    assert (new.slug != old, new.private, new.theme, new.description) == (True, True, "green", "d")
    assert api.get_collection(old).title == f"{title}, renamed"
    other = api.create_collection(title, namespace="lab").slug
    with pytest.raises(HfHubHTTPError, match="409"):
        api.update_collection_metadata(other, title=f"{title}, renamed")


def test_a_repository_in_a_collection_may_be_renamed_and_deleted(api: HfApi, repo: str, title: str) -> None:
    slug = api.create_collection(title, namespace="lab").slug
    api.add_collection_item(slug, repo, "model")
    api.move_repo(repo, f"{repo}-new")
    assert [item.item_id for item in api.get_collection(slug).items] == [f"{repo}-new"]
    api.delete_repo(f"{repo}-new")
    assert api.get_collection(slug).items == []


def test_lists_go_by_owner_and_content_page_by_page(api: HfApi, wire: Wire, repo: str, title: str) -> None:
    owner = f"o{repo.split('/')[1]}"
    slugs = [api.create_collection(f"{title} {n}", namespace=owner).slug for n in range(5)]
    api.add_collection_item(slugs[1], repo, "model")
    assert {row.slug for row in api.list_collections(owner=owner)} == set(slugs)
    assert {row.slug for row in api.list_collections(owner=[owner.upper(), "nobody"])} == set(slugs)
    assert [row.slug for row in api.list_collections(item=f"models/{repo}")] == [slugs[1]]
    assert not list(api.list_collections(item=f"datasets/{repo}"))
    assert len(list(api.list_collections(owner=owner, limit=2))) == 2
    answer = wire("GET", f"/api/collections?owner={owner}&limit=3")
    following = wire("GET", answer.headers["link"].split(">")[0].strip("<"))
    assert {row["slug"] for row in answer.json + following.json} == set(slugs)


def test_private_collections_and_private_repositories_in_them_are_hidden(
    api: HfApi, running: Running, wire: Wire, anonymous: Wire, repo: str, title: str, token_of: Callable[..., str]
) -> None:
    api.create_repo(f"{repo}-secret", private=True)
    shown = api.create_collection(title, namespace="lab").slug
    hidden = api.create_collection(f"{title}, hidden", namespace="lab", private=True).slug
    for repo_id in (repo, f"{repo}-secret"):
        api.add_collection_item(shown, repo_id, "model")
    stranger = HfApi(endpoint=running.url, token=token_of("stranger", "write"))
    member = HfApi(endpoint=running.url, token=token_of("rita", "read", ("lab",)))
    assert [row.item_id for row in stranger.get_collection(shown).items] == [repo]
    assert len(member.get_collection(shown).items) == 2
    assert not list(stranger.list_collections(item=f"models/{repo}-secret"))
    assert hidden not in [row.slug for row in stranger.list_collections(owner="lab")]
    assert member.get_collection(hidden).private
    missing = "lab/x-" + "0" * 24
    for caller in (Wire(wire.port, str(stranger.token)), anonymous):
        for method, rest, body in (
            ("GET", "", None), ("PATCH", "", {}), ("DELETE", "", None), ("POST", "/items", {}),
            ("PATCH", "/items/x", {}), ("DELETE", "/items/x", None),
        ):  # fmt: skip
            answers = [caller(method, f"/api/collections/{slug}{rest}", body) for slug in (hidden, missing)]
            assert [answer.status for answer in answers] == [404, 404]
            assert answers[0].body == answers[1].body
    for refused in (
        lambda: stranger.delete_collection(shown),
        lambda: member.add_collection_item(shown, "1", "paper"),
        lambda: stranger.create_collection(title, namespace="lab"),
    ):
        with pytest.raises(HfHubHTTPError, match="403"):
            refused()
    own = stranger.create_collection(title, namespace="stranger").slug
    with pytest.raises(HfHubHTTPError, match="404"):
        stranger.add_collection_item(own, f"{repo}-secret", "model")
    assert anonymous("POST", "/api/collections", {"title": "t", "namespace": "lab"}).status == 401


@pytest.mark.parametrize(
    "body",
    [
        {}, {"title": ""}, {"title": 7}, {"title": "x" * 61}, {"title": "a", "description": "x" * 151},
        {"title": "a", "private": "yes"}, {"title": "a", "namespace": "../x"}, {"title": "\0"},
    ],
)  # fmt: skip
def test_invalid_collections_are_refused(wire: Wire, body: dict[str, object]) -> None:
    assert wire("POST", "/api/collections", body).status == 400


def test_what_cannot_be_in_a_collection_is_refused(api: HfApi, wire: Wire, title: str) -> None:
    slug = api.create_collection(title, namespace="lab").slug
    for item, status in (
        ({"id": "a/b", "type": "bucket"}, 501), ("a/b", 501), ({"id": "lab/none", "type": "model"}, 404),
        ({"id": "x" * 50, "type": "paper"}, 501), (None, 501),
    ):  # fmt: skip
        assert wire("POST", f"/api/collections/{slug}/items", {"item": item}).status == status
    api.add_collection_item(slug, "1", "paper")
    item = api.get_collection(slug).items[0].item_object_id
    assert wire("PATCH", f"/api/collections/{slug}/items/{item}", {"position": -1}).status == 400


def test_a_collection_has_a_page(api: HfApi, anonymous: Wire, repo: str, title: str) -> None:
    collection = api.create_collection(f"{title} <b>", namespace="lab", description="<script>")
    api.add_collection_item(collection.slug, repo, "model", note="<i>note</i>")
    body = anonymous("GET", collection.url).body.decode()
    assert f'href="/{repo}"' in body
    assert "&lt;i&gt;note" in body
    assert "&lt;script&gt;" in body
    assert anonymous("GET", collection.url + "0").status == 404
