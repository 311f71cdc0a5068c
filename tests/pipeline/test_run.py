"""One command runs the whole chain on the embedded Hub; the smoke recipe stands for any."""

import fcntl
import json
import re
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from permix.pipeline import plan, recipes
from permix.publishing.hub import Hub, split
from tests.support.cases import cases
from tests.support.command_line import permix, permix_here, refused
from tests.support.hubs import hub_of

TARGETS = [step.target for step in plan.build(recipes.load("smoke"))]


@pytest.fixture
def hub(smoke: Path) -> Hub:
    return hub_of(smoke)


def test_the_run_ends_with_a_table_a_picture_and_three_commands(smoke: Path) -> None:
    done = permix_here(smoke, "run", "--recipe", "smoke")
    for title in ("Base", "RLVR", "PerMix-RLVR"):
        assert f"\n{title} " in done.stdout
    picture = next(line for line in done.stdout.splitlines() if line.startswith("Picture: ")).removeprefix("Picture: ")
    assert Path(picture).read_bytes().startswith(b"\x89PNG")
    assert done.stdout.count("hub exec -- ") == 3
    assert f"/{TARGETS[-1]}" in next(line for line in done.stdout.splitlines() if line.startswith("Pages: "))


def test_that_smoke_learns_nothing_stands_wherever_its_results_are_shown(smoke: Path, hub: Hub) -> None:
    note = "Note: this recipe is a check of the machinery; it learns nothing"
    assert note in permix_here(smoke, "run", "--recipe", "smoke").stdout
    for target, files in {
        "datasets/permix-smoke/permix-tables": ("README.md", "report.html"),
        "permix-smoke/permix-toy-rlvr": ("README.md",),
    }.items():
        head = hub.state(target)
        for name in files:
            text = " ".join(hub.download(f"{target}@{head.sha}", name).read_text(encoding="utf-8").split())
            assert note in text, f"{name} of {target}"


def test_a_second_run_makes_nothing(smoke: Path) -> None:
    done = permix_here(smoke, "run", "--recipe", "smoke")
    assert "making" not in done.stderr
    assert done.stderr.count("current") == len(TARGETS)


def test_plan_shows_everything_current(smoke: Path) -> None:
    assert f"{len(TARGETS)} of {len(TARGETS)} current" in permix_here(smoke, "plan", "--recipe", "smoke").stdout
    assert set(states(smoke)) == set(TARGETS)


def states(home: Path, *arguments: str) -> dict[str, str]:
    """{target: state} as `permix plan` prints it."""
    rows = permix_here(home, "plan", "--recipe", "smoke", *arguments).stdout.split("\n\n")[0]
    return {row.split()[1]: row.split()[2] for row in rows.splitlines()}


def test_plan_tells_what_a_changed_setting_makes_stale(smoke: Path) -> None:
    state = states(smoke, "--set", "grpo.learning_rate=1e-4")
    assert state["permix-smoke/permix-toy-base"] == "current"
    assert state["datasets/permix-smoke/permix-sweep-permix-toy-base"] == "current"
    for stale in ("permix-smoke/permix-toy-rlvr", "datasets/permix-smoke/permix-sweep-permix-toy-rlvr"):
        assert state[stale] == "stale"


@pytest.mark.parametrize("target", TARGETS)
def test_every_artifact_is_one_commit_with_a_record_a_card_and_a_tag(target: str, hub: Hub) -> None:
    head = hub.state(target)
    assert head.intact
    assert head.record["target"] == target
    assert "README.md" in head.files
    assert head.record["release"] in hub.tags(target)
    kind, name = split(target)
    titles = [c.title for c in HfApi(hub.endpoint, token=hub.token).list_repo_commits(name, repo_type=kind)]
    own = [t for t in titles if t.startswith(f"{head.record['stage']}: ")]
    assert len(own) == 1
    assert set(titles) <= {*own, "initial commit", "Results onto the card"}


def test_every_input_is_recorded_at_the_commit_it_was_read(hub: Hub) -> None:
    for target in TARGETS:
        head = hub.state(target)
        for source in head.record["inputs"].values():
            at = hub.state(f"{source['repo']}@{source['revision']}")
            assert at.content_digest == source["content_digest"]


def test_the_token_is_in_no_record_card_or_log(smoke: Path, hub: Hub) -> None:
    assert hub.token
    looked = [*(smoke / "work").rglob("*"), *(smoke / "hf").rglob("*"), *(smoke / "hub").glob("*.log")]
    texts = [path for path in looked if path.is_file()]
    assert any(path.name == "run.json" for path in texts)
    assert any(path.suffix == ".log" for path in texts)
    for path in texts:
        assert hub.token.encode() not in path.read_bytes(), path


def test_show_prints_the_record_and_json(smoke: Path) -> None:
    repo = "permix-smoke/permix-toy-permix-rlvr"
    assert "learning_rate                0.003" in permix_here(smoke, "show", repo).stdout
    record = json.loads(permix_here(smoke, "show", repo, "--json").stdout)
    assert (record["stage"], record["facts"]["steps"]) == ("grpo", 4)


def test_a_sweep_prints_its_numbers(smoke: Path) -> None:
    done = permix_here(smoke, "sweep", "--recipe", "smoke", "rlvr")
    assert "making" not in done.stderr
    assert "Note: this recipe is a check of the machinery" in done.stderr
    assert re.search(r"^  arithmetic: worst \d\.\d+, best .* none \d\.\d+", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(("arguments", "sentence"), cases(__file__)["refusals"])
def test_a_refusal_is_one_sentence(arguments: list[str], sentence: str, smoke: Path) -> None:
    (line,) = refused(smoke, *arguments, run=permix_here).splitlines()
    assert sentence in line


def test_verify_recomputes_a_sweep(smoke: Path) -> None:
    done = permix_here(smoke, "verify", "datasets/permix-smoke/permix-sweep-permix-toy-rlvr")
    assert "360 completions graded again, 0 scores and 0 of" in done.stdout


def test_a_table_that_was_edited_by_hand_is_stale_until_its_content_is_back(smoke: Path, hub: Hub) -> None:
    """That `permix run` builds it again is in test_kill.py."""
    repo = "datasets/permix-smoke/permix-sweep-permix-toy-base"
    before = hub.state(repo)
    written = hub.download(f"{repo}@{before.sha}", "summary.json").read_bytes()

    def write(content: bytes) -> None:
        operation = CommitOperationAdd("summary.json", content)
        hub.api.create_commit(repo.removeprefix("datasets/"), [operation], repo_type="dataset", commit_message="Edit")

    write(b"{}")
    assert "does not have the content in its run.json" in permix_here(smoke, "verify", repo, check=False).stderr
    assert states(smoke)[repo] == "stale"
    write(written)
    assert set(states(smoke).values()) == {"current"}


def test_a_hub_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    command = ["run", "--recipe", "smoke", "--hub", "http://127.0.0.1:9"]
    (line,) = refused(tmp_path, *command, code=1, HF_TOKEN="hf_x").splitlines()
    assert "does not answer" in line
    assert "There is no token" in refused(tmp_path, *command)


def test_a_read_token_is_refused_before_anything_is_made(smoke: Path, hub: Hub) -> None:
    token = permix(smoke, "hub", "token", "--new", "reader", "--role", "read").stdout.strip()
    assert "is read-only on" in refused(smoke, "run", "--recipe", "smoke", "--hub", hub.endpoint, HF_TOKEN=token)


def test_two_runs_at_once_do_not_meet(smoke: Path) -> None:
    with (smoke / "work" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "Another permix run is at work" in refused(smoke, "run", "--recipe", "smoke", code=1, run=permix_here)
