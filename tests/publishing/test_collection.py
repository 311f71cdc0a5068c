"""The Collection of what an organisation has published, on the embedded Hub."""

from pathlib import Path

import pytest

from permix.errors import PermixError
from permix.publishing import collection, hub
from tests.support.hubs import hub_of
from tests.support.servers import answering, error


@pytest.fixture(scope="module")
def hub_of_smoke(smoke: Path) -> hub.Hub:
    return hub_of(smoke)


def collected(hub_of_smoke: hub.Hub, org: str) -> list[str]:
    (collection,) = hub_of_smoke.api.list_collections(owner=org)
    return [f"{item.item_type} {item.item_id}" for item in hub_of_smoke.api.get_collection(collection.slug).items]


def test_a_run_collects_all_that_it_has_published_once_with_the_paper_first(hub_of_smoke: hub.Hub) -> None:
    items = collected(hub_of_smoke, "permix-smoke")
    assert (items[0], len(set(items))) == ("paper 2604.08986", len(items))
    assert {"space permix-smoke/pss", "model permix-smoke/permix-toy-rlvr"} < set(items)
    assert {"dataset permix-smoke/permix-tables", "dataset permix-smoke/permix-personas"} < set(items)
    assert hub_of_smoke.endpoint in collection.gather(hub_of_smoke, "permix-smoke")
    once = collected(hub_of_smoke, "permix-smoke")
    collection.gather(hub_of_smoke, "permix-smoke")
    assert collected(hub_of_smoke, "permix-smoke") == once
    assert once[: len(items)] == items


def test_what_permix_did_not_make_is_not_collected(hub_of_smoke: hub.Hub) -> None:
    hub_of_smoke.api.create_repo("collected/of-somebody")
    collection.gather(hub_of_smoke, "collected")
    assert collected(hub_of_smoke, "collected") == ["paper 2604.08986"]


def test_a_hub_that_refuses_is_one_sentence(tmp_path: Path) -> None:
    with answering(lambda path: error(403)) as (url, _), pytest.raises(PermixError, match="does not have the right"):
        collection.gather(hub.Hub(url, "hf_x", tmp_path, embedded=False), "collected")
