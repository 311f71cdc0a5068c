"""The Collection of what an organisation has published, on the embedded Hub."""

from pathlib import Path

import pytest

from embedded_hub import launch
from permix.errors import PermixError
from permix.publishing import collection, hub
from tests.support.servers import answering, error


@pytest.fixture(scope="module")
def place(smoke: Path) -> hub.Hub:
    running = launch.attach(smoke / "hub")
    return hub.Hub(running.url, running.token, smoke / "hf" / "hub", embedded=True)


def collected(place: hub.Hub, org: str) -> list[str]:
    (made,) = place.api.list_collections(owner=org)
    return [f"{item.item_type} {item.item_id}" for item in place.api.get_collection(made.slug).items]


def test_a_run_collects_all_that_it_has_published_once_with_the_paper_first(place: hub.Hub) -> None:
    found = collected(place, "permix-smoke")
    assert found[0] == "paper 2604.08986" and len(set(found)) == len(found)
    assert {"space permix-smoke/pss", "model permix-smoke/permix-toy-rlvr"} < set(found)
    assert {"dataset permix-smoke/permix-tables", "dataset permix-smoke/permix-personas"} < set(found)
    assert place.endpoint in collection.gather(place, "permix-smoke")
    once = collected(place, "permix-smoke")
    collection.gather(place, "permix-smoke")
    assert collected(place, "permix-smoke") == once and once[: len(found)] == found


def test_what_permix_did_not_make_is_not_collected(place: hub.Hub) -> None:
    place.api.create_repo("collected/of-somebody")
    collection.gather(place, "collected")
    assert collected(place, "collected") == ["paper 2604.08986"]


def test_a_hub_that_refuses_is_one_sentence(tmp_path: Path) -> None:
    with answering(lambda path: error(403)) as (url, _), pytest.raises(PermixError, match="no right"):
        collection.gather(hub.Hub(url, "hf_x", tmp_path, embedded=False), "collected")
