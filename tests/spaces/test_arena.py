"""The blind arena of the leaderboard: votes of two visitors, published in batches and compared with the judges."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from gradio_client import Client
from huggingface_hub import CommitOperationAdd, HfApi

from embedded_hub import launch
from permix.stages import apps
from tests.support.spaces import barriers, serve
from tests.support.waiting import wait_until

VOTES, PREFERENCE = "duel/permix-votes", "duel/permix-preference-plain-vs-vivid"
TEXTS = {"first": "It is <b>4</b>.", "second": "Arr, four doubloons!"}
BATCH = 0.01  # minutes between two commits
NEVER = 1e4
KILLED = """
import os, pathlib, signal, sys
sys.path.insert(0, sys.argv[1])
import arena
box = arena.Box("duel", 1e4, pathlib.Path(sys.argv[2]))
box.put({"problem_id": "left behind"})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def api(running: launch.Running) -> HfApi:
    """The Hub with eight pairs; the judge "sure" always prefers the second answer, "unsure" the one shown first."""
    api = HfApi(endpoint=running.url, token=running.token)
    shared: dict[str, Any] = {"persona": "pirate", "question": "2 + 2?", **TEXTS}
    rows = [
        shared | {"problem_id": f"p/{n}", "judge": judge, "order": order, "score": score}
        for n in range(8)
        for judge, scores in (("sure", (-1.0, 1.0)), ("unsure", (1.0, 1.0)), ("silent", (None, 1.0)))
        for order, score in zip(("first", "second"), scores, strict=True)
    ]
    out = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(rows), out)
    api.create_repo(PREFERENCE, repo_type="dataset")
    added = [CommitOperationAdd("data/test-00000-of-00001.parquet", out.getvalue())]
    added.append(CommitOperationAdd("summary.json", b'{"first": "plain", "second": "vivid", "judges": {}}'))
    api.create_commit(PREFERENCE, added, repo_type="dataset", commit_message="Add")
    return api


@pytest.fixture(scope="module")
def address(running: launch.Running, api: HfApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("arena")
    with serve("permix-leaderboard", folder, **settings(running, folder, BATCH), PERMIX_MEASURE="local") as url:
        yield url


def settings(running: launch.Running, folder: Path, minutes: float) -> dict[str, str]:
    """An arena whose votes are published every `minutes`."""
    variables = {"PERMIX_ORG": "duel", "PERMIX_ARENA": str(minutes), "PERMIX_DATA": str(folder), "TMPDIR": str(folder)}
    return variables | launch.client_environment(running, folder)


def votes(address: str) -> list[str]:
    """Vote four times for the answer of a pirate; return the page's sentence after each vote."""
    page, sentences = Client(address, verbose=False), []
    pair = page.predict(api_name="/pair")
    for _ in range(4):
        left = pair.index("Arr") < pair.index("It is")
        assert "vivid" not in pair
        assert "<b>4" not in pair
        assert "&lt;b&gt;4" in pair
        pair, thanks = page.predict("Left" if left else "Right", api_name="/vote_left" if left else "/vote_right")
        assert ("Left was vivid" in thanks) == left
        sentences.append(thanks)
    return sentences


def stored(api: HfApi) -> list[dict[str, Any]]:
    """Return the votes on the Hub."""
    if not api.repo_exists(VOTES, repo_type="dataset"):
        return []
    names = [name for name in api.list_repo_files(VOTES, repo_type="dataset") if name.endswith(".jsonl")]
    texts = [Path(api.hf_hub_download(VOTES, name, repo_type="dataset")).read_text() for name in names]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def test_votes_of_two_visitors_are_published_and_compared_with_the_judges(address: str, api: HfApi) -> None:
    with ThreadPoolExecutor(2) as visitors:
        assert sum(map(len, visitors.map(votes, [address] * 2))) == 8
    wait_until(lambda: len(stored(api)) == 8)
    rows = stored(api)
    assert {row["vote"] for row in rows} == {"second"}
    assert len({row["page"] for row in rows}) == 2
    assert {(row["preference"], row["persona"]) for row in rows} == {(PREFERENCE, "pirate")}
    assert set(rows[0]) == {"preference", "revision", "problem_id", "persona", "shown", "vote", "page", "date"}
    page = Client(address, verbose=False)
    page.predict(None, "", "", api_name="/again")
    assert page.predict(api_name="/agreement")["data"] == [["sure", 8, 1, 1, None], ["unsure", 8, 0, 0, 0]]
    assert "data/*.jsonl" in Path(api.hf_hub_download(VOTES, "README.md", repo_type="dataset")).read_text()


def test_a_vote_before_a_pair_is_shown_is_not_counted(address: str, api: HfApi) -> None:
    before = len(stored(api))
    _, words = Client(address, verbose=False).predict("Tie", api_name="/vote_tie")
    assert "The vote was not counted" in words
    assert len(stored(api)) == before


@pytest.mark.real
def test_vote_and_measure_in_a_browser_as_small_as_a_phone(address: str, browser: Any) -> None:
    screen = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    screen.goto(address)

    def enter(tab: str) -> None:
        screen.locator(".overflow-menu > button").first.click()
        screen.locator(".overflow-dropdown button", has_text=tab).click()

    def press(button: str, sentence: str) -> None:
        screen.get_by_role("button", name=button, exact=True).click()
        screen.get_by_text(sentence).wait_for()
        assert barriers(screen) == []
        assert screen.evaluate("document.documentElement.scrollWidth") <= 390

    enter("Arena")
    screen.get_by_text("Persona: pirate").wait_for()
    press("Tie", "Thank you. Left was")
    enter("Measure my model")
    press("Measure", "is not a repository name")
    screen.get_by_role("textbox", name="repository").fill("alice/<b>")
    press("Offer the results to its card", "'alice/<b>' is not a repository name")
    screen.close()


def test_votes_survive_a_kill_and_a_stop_of_the_page(running: launch.Running, api: HfApi, tmp_path: Path) -> None:
    journal, space = tmp_path / "permix-votes-duel", str(apps.build("permix-leaderboard", tmp_path / "killed"))
    nowhere = settings(running, tmp_path, NEVER) | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    killed = subprocess.run([sys.executable, "-c", KILLED, space, str(journal)], env=os.environ | nowhere, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = journal.glob("*.jsonl")
    with left.open("a") as out:
        out.write('{"problem_id": "cut by the k')
    before = stored(api)
    with serve("permix-leaderboard", tmp_path, **settings(running, tmp_path, NEVER)) as url:
        page = Client(url, verbose=False)
        wait_until(lambda: len(stored(api)) > len(before))  # votes of the killed page are published at the start
        page.predict(api_name="/pair")
        _, thanks = page.predict("Tie", api_name="/vote_tie")
        assert "1 vote is stored here and not yet on the Hub" in thanks
    problems = [row["problem_id"] for row in stored(api)]
    assert len(problems) == len(before) + 2
    assert "left behind" in problems
    assert not any("cut" in problem for problem in problems)
