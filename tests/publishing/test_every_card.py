"""Every template of hub_cards/ with records of every stage: what holds for all cards."""

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard

from permix import files
from permix.publishing import cards
from tests.support import records

Page = tuple[str, dict[str, Any], str]
SECRET = re.compile(r"hf_[A-Za-z]{20,}|sk-[A-Za-z0-9]{20,}|Bearer |password|api_key", re.IGNORECASE)


@pytest.fixture(scope="module")
def by_recipe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Page]]:
    """{recipe: (card, record, rendered page) of its artifacts}, for a toy recipe and one on a foreign base."""
    rendered = {}
    for plan in (records.toy_recipe(), records.foreign_recipe()):
        by_stage = records.records(plan, tmp_path_factory.mktemp(plan.base_slug))
        rendered[plan.name] = [(card, record, cards.render(card, record)) for card, record in by_stage]
    return rendered


@pytest.fixture(scope="module")
def every(by_recipe: dict[str, list[Page]]) -> list[Page]:
    return [page for pages in by_recipe.values() for page in pages]


def test_every_template_is_rendered(every: list[Page]) -> None:
    pages = {path.stem for path in files.CARDS.glob("*.md") if not path.stem.startswith("_")}
    assert {card for card, _, _ in every} == pages


def test_metadata_is_what_the_hub_library_reads(every: list[Page]) -> None:
    for _, record, page in every:
        kind = DatasetCard if record["target"].startswith("datasets/") else ModelCard
        head = yaml.safe_load(page.split("---\n")[1])
        assert kind(page).data.to_dict() == head
        assert head["license"]
        assert "arxiv:2604.08986" in head["tags"]


def test_configs_name_every_parquet_file_and_nothing_else(every: list[Page]) -> None:
    for _, record, page in every:
        if not record["target"].startswith("datasets/"):
            continue
        head = yaml.safe_load(page.split("---\n")[1])
        patterns = [entry["path"] for config in head["configs"] for entry in config["data_files"]]
        read = {path for path in [*record["files"], "run.json", "README.md"] for p in patterns if fnmatch(path, p)}
        assert read == {path for path in record["files"] if path.endswith(".parquet")}


def test_inputs_are_links_to_their_commits(every: list[Page]) -> None:
    for _, record, page in every:
        for source in record["inputs"].values():
            assert f"(/{source['repo']}/tree/{source['revision']})" in page


def test_toy_artifacts_say_so_and_others_do_not(by_recipe: dict[str, list[Page]]) -> None:
    for name, pages in by_recipe.items():
        shared = ("personas", "questions")  # those of the toy world are everybody's
        mentions = {record["target"]: "toy world" in page.lower() for card, record, page in pages if card not in shared}
        assert set(mentions.values()) == {name == "toy"}, mentions


def test_no_page_holds_a_secret_or_a_path_of_this_machine(every: list[Page]) -> None:
    for _, record, page in every:
        assert not SECRET.search(page), record["target"]
        assert str(Path.home()) + "/" not in page


def test_no_template_leaves_a_broken_table(every: list[Page]) -> None:
    """Rows of one table have one width, and no blank line cuts its head from its body."""
    for _, record, page in every:
        for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
            rows = table.splitlines()
            assert re.fullmatch(r"\|(-+\||\s*:?-+:?\s*\|)+", rows[1]), (record["target"], rows[:2])
            assert len({row.replace("\\|", "").count("|") for row in rows}) == 1, (record["target"], rows[:3])
