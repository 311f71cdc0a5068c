"""The runner: what is made, in which order and where; and that nothing that happens to it does lasting harm."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from embedded_hub import launch
from permix import processes, run_record, stages
from permix.errors import PermixError
from permix.experiment.models import Model
from permix.pipeline import publication, runner
from permix.progress import Board
from permix.publishing.hub import Hub, RepositoryState, split
from permix.stages import grpo
from tests.support import records, trials
from tests.support.cases import cases
from tests.support.trials import facts, step
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def trial_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    trials.join(monkeypatch)


def api(hub: Hub) -> HfApi:
    return HfApi(hub.endpoint, token=hub.token)


def commits(hub: Hub, repo: str) -> list[str]:
    kind, name = split(repo)
    return [c.title.split(":")[0] for c in api(hub).list_repo_commits(name, repo_type=kind)]


def head_of(hub: Hub, repo: str) -> RepositoryState:
    state = hub.state(repo)
    assert state is not None
    return state


class Listening(Board):
    """A board that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.told: list[tuple[str, str]] = []

    def start(self, target: str) -> None:
        self.told.append(("start", target.rsplit("/", 1)[1]))
        super().start(target)

    def current(self, target: str) -> None:
        self.told.append(("current", target.rsplit("/", 1)[1]))

    def failed(self, target: str) -> None:
        self.told.append(("failed", target.rsplit("/", 1)[1]))
        super().failed(target)


def test_a_chain_is_made_in_order_and_recorded(hub: Hub, org: str, tmp_path: Path) -> None:
    published = trials.run(hub, tmp_path / "work", step(org, "a"), step(org, "b", text="b+", needs=["a"]))
    assert (hub.fetch(published["b"]) / "data.txt").read_text() == "b+text"
    record = published["b"].record
    assert published["b"].intact
    source = {
        "repo": f"datasets/{org}/a", "revision": published["a"].sha, "content_digest": published["a"].content_digest,
    }  # fmt: skip
    assert record["inputs"] == {"0": source}
    assert record["facts"]["sources"] == {"0": f"datasets/{org}/a@{published['a'].sha}"}
    assert record["cost"]["tokens"] == 7
    assert record["cost"]["seconds"] >= 0
    assert "cost" not in record["facts"]
    assert record["release"] == "v1.0.0"
    assert hub.tags(f"datasets/{org}/b") == {"v1.0.0": published["b"].sha}
    assert commits(hub, f"datasets/{org}/b") == ["trial", "initial commit"]
    assert not list((tmp_path / "work").glob("trial/*"))


def test_what_is_current_is_not_made_again(hub: Hub, org: str, tmp_path: Path) -> None:
    def chain() -> list[Any]:
        return [step(org, "a"), step(org, "b", needs=["a"])]

    first, board = trials.run(hub, tmp_path / "work", *chain()), Listening()
    second = trials.run(hub, tmp_path / "work", *chain(), board=board)
    assert board.told == [("current", "a"), ("current", "b")]
    assert {k: h.sha for k, h in first.items()} == {k: h.sha for k, h in second.items()}


def test_an_equal_remake_upstream_leaves_the_rest_current(hub: Hub, org: str, tmp_path: Path) -> None:
    trials.run(hub, tmp_path / "work", step(org, "a"), step(org, "b", needs=["a"]))
    board = Listening()
    trials.run(hub, tmp_path / "work", step(org, "a", noise=1), step(org, "b", needs=["a"]), board=board)
    assert board.told == [("start", "a"), ("current", "b")]
    board = Listening()
    trials.run(hub, tmp_path / "work", step(org, "a", text="new"), step(org, "b", needs=["a"]), board=board)
    assert board.told == [("start", "a"), ("start", "b")]


def test_fresh_makes_a_current_step_again_under_the_next_tag(hub: Hub, org: str, tmp_path: Path) -> None:
    trials.run(hub, tmp_path / "work", step(org, "a"))
    again, board = step(org, "a"), Listening()
    again.fresh = True
    published = trials.run(hub, tmp_path / "work", again, board=board)
    assert board.told == [("start", "a")]
    assert commits(hub, f"datasets/{org}/a") == ["trial", "trial", "initial commit"]
    tags = hub.tags(f"datasets/{org}/a")
    assert (set(tags), tags["v1.1.0"]) == ({"v1.0.0", "v1.1.0"}, published["a"].sha)


def test_a_tag_of_somebody_else_does_not_confuse_the_release(hub: Hub, org: str, tmp_path: Path) -> None:
    published = trials.run(hub, tmp_path / "work", step(org, "a"))
    for name in ("v1.beta.0", "v1.7", "v2.0.0", "mine"):
        hub.tag(f"datasets/{org}/a", name, published["a"].sha)
    published = trials.run(hub, tmp_path / "work", step(org, "a", noise=1))
    assert hub.tags(f"datasets/{org}/a")["v1.1.0"] == published["a"].sha


def test_a_tag_that_a_kill_cut_off_is_set_by_the_next_run(hub: Hub, org: str, tmp_path: Path) -> None:
    published = trials.run(hub, tmp_path / "work", step(org, "a"))
    api(hub).delete_tag(f"{org}/a", tag="v1.0.0", repo_type="dataset")
    board = Listening()
    trials.run(hub, tmp_path / "work", step(org, "a"), board=board)
    assert board.told == [("current", "a")]
    assert hub.tags(f"datasets/{org}/a") == {"v1.0.0": published["a"].sha}


def test_an_artifact_edited_by_hand_is_made_again_and_the_edit_is_gone(hub: Hub, org: str, tmp_path: Path) -> None:
    trials.run(hub, tmp_path / "work", step(org, "a"))
    api(hub).upload_file(path_or_fileobj=b"x", path_in_repo="extra.txt", repo_id=f"{org}/a", repo_type="dataset")
    published = trials.run(hub, tmp_path / "work", step(org, "a"))
    assert published["a"].intact
    assert "extra.txt" not in published["a"].files


def test_what_an_earlier_run_left_behind_is_not_published(hub: Hub, org: str, tmp_path: Path) -> None:
    first = step(org, "a")
    digest = run_record.digest("trial", 1, first.config, {})
    left = tmp_path / "work" / "trial" / digest[:32] / "out"
    left.mkdir(parents=True)
    (left / "data.txt").write_text("half of")
    (left / "run.json").write_text("{")
    (left / ".x.part").write_text("")
    published = trials.run(hub, tmp_path / "work", first)
    assert set(published["a"].files) == {".gitattributes", "data.txt", "run.json"}
    assert published["a"].intact


def test_a_failure_keeps_the_work_of_the_others(hub: Hub, org: str, tmp_path: Path) -> None:
    board = Listening()
    steps = [step(org, "bad", does="raise"), step(org, "slow", seconds=0.6), step(org, "after", needs=["bad"])]
    with pytest.raises(PermixError) as failure:
        trials.run(hub, tmp_path / "work", *steps, board=board)
    assert failure.value.exit_code == 1
    sentence, log = re.fullmatch(r"(.*) \(log: (.*)\)", str(failure.value)).groups()  # type: ignore[union-attr]
    assert sentence == f"Making datasets/{org}/bad failed with ValueError: the first line"
    assert "the second line" in Path(log).read_text()
    assert "Traceback" in Path(log).read_text()
    assert ("failed", "bad") in board.told
    assert ("start", "after") not in board.told
    assert head_of(hub, f"datasets/{org}/slow").intact
    assert hub.state(f"datasets/{org}/bad") is None
    board = Listening()
    trials.run(hub, tmp_path / "work", step(org, "bad"), steps[1], step(org, "after", needs=["bad"]), board=board)
    assert board.told.count(("current", "slow")) == 1
    assert ("start", "after") in board.told


FAILURES = {
    "refuse": (2, "The input is wrong."),
    "exhaust": (1, "Out of memory while making datasets/.*: lower .*per_device_train_batch_size.* number of workers."),
    "exit": (1, "The worker that made datasets/.* ended with code 3: run again to continue."),
    "tell a set": (1, "Making datasets/.* failed with TypeError: Object of type set is not JSON serializable"),
}


@pytest.mark.parametrize("does", FAILURES)
def test_every_way_to_fail_is_one_sentence_and_publishes_nothing(does: str, hub: Hub, org: str, tmp_path: Path) -> None:
    code, sentence = FAILURES[does]
    with pytest.raises(PermixError, match=sentence + r" \(log: .*worker-0\.log\)$") as failure:
        trials.run(hub, tmp_path / "work", step(org, "a", does=does))
    assert failure.value.exit_code == code
    assert "\n" not in str(failure.value)
    assert hub.state(f"datasets/{org}/a") is None


def test_a_killed_worker_is_one_sentence_and_the_next_run_continues(hub: Hub, org: str, tmp_path: Path) -> None:
    with pytest.raises(PermixError, match=r"was killed by signal 9 \(out of memory\?\): run again to continue"):
        trials.run(hub, tmp_path / "work", step(org, "a", does="die"))
    assert facts(trials.run(hub, tmp_path / "work", step(org, "a", does="die"))["a"])["resumed"] is True


def test_a_worker_that_died_idle_is_replaced(hub: Hub, org: str, tmp_path: Path) -> None:
    steps = [
        step(org, "a", does="die later"), step(org, "b", seconds=0.8), step(org, "c", needs=["a", "b"], together="c"),
        step(org, "d", needs=["a", "b"], together="d"),
    ]  # fmt: skip
    published = trials.run(hub, tmp_path / "work", *steps)
    assert len({facts(head)["pid"] for head in published.values()}) == 3


def test_a_failed_publish_stops_no_other(hub: Hub, org: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials.run(hub, tmp_path / "work", step(org, "a"))
    head = Hub.state

    def overtaken(self: Hub, repo: str) -> RepositoryState | None:  # somebody publishes just after the run has looked
        state = head(self, repo)
        if state and repo == f"datasets/{org}/a":
            api(hub).upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=f"{org}/a", repo_type="dataset")
        return state

    monkeypatch.setattr(Hub, "state", overtaken)
    sentence = f"Could not publish datasets/{org}/a. Someone else committed to this repository"
    with pytest.raises(PermixError, match=sentence):
        trials.run(hub, tmp_path / "work", step(org, "a", noise=1), step(org, "slow", seconds=0.6))
    monkeypatch.setattr(Hub, "state", head)
    assert head_of(hub, f"datasets/{org}/slow").intact


def test_steps_of_a_group_share_a_process_and_are_split_among_idle_workers(hub: Hub, org: str, tmp_path: Path) -> None:
    def pids(workers: int) -> set[int]:
        names = [f"{workers}-{n}" for n in range(4)]
        steps = [step(org, name, together="one", seconds=0.05) for name in names]
        return {facts(h)["pid"] for h in trials.run(hub, tmp_path / "work", *steps, workers=workers).values()}

    assert len(pids(1)) == 1
    assert len(pids(2)) == 2


def test_a_step_that_wants_every_core_runs_alone_and_last(hub: Hub, org: str, tmp_path: Path) -> None:
    alone = [step(org, f"alone{n}", "trial_alone", seconds=0.2) for n in range(2)]
    small = [step(org, f"small{n}", seconds=0.2) for n in range(2)]
    published = trials.run(hub, tmp_path / "work", *alone, *small)
    times = {name: (facts(head)["started"], facts(head)["ended"]) for name, head in published.items()}
    ends = max(times[s][1] for s in ("small0", "small1"))
    first, second = sorted(times[a] for a in ("alone0", "alone1"))
    assert ends < first[0]
    assert first[1] < second[0]
    cores = processes.cores()
    assert (facts(published["alone0"])["threads"], facts(published["small0"])["threads"]) == (cores, max(1, cores // 2))


@pytest.mark.parametrize(("needs", "workers", "threads"), cases(__file__)["cores"])
def test_sweeps_share_the_cores_with_those_beside_them_alone(
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    needs: list[tuple[str, ...]],
    workers: int,
    threads: list[int],
) -> None:
    monkeypatch.setattr(processes, "cores", lambda: 8)
    for toy in (False, True):
        steps = [step("o", str(number), needs=stems, toy=toy) for number, stems in enumerate(needs)]
        planned = runner.Runner(hub, tmp_path, workers, Board(quiet=True))
        planned._beside = runner._side_by_side(steps)
        assert [planned._threads(each) for each in steps] == ([8 // workers] * len(steps) if toy else threads)


def test_batches_keep_groups_together_until_workers_would_stand_idle() -> None:
    def batches(groups: str, idle: int) -> list[str]:
        steps = [step("o", f"{name}{number}", together=name) for number, name in enumerate(groups)]
        return ["".join(s.config.together for s in batch) for batch in runner._batches(steps, idle)]  # type: ignore[attr-defined]

    assert batches("aab", 2) == ["aa", "b"]
    assert batches("aaaa", 2) == ["aa", "aa"]
    assert sorted(batches("aaaaa", 3)) == ["a", "aa", "aa"]
    assert batches("ab", 4) == ["a", "b"]
    assert batches("abc", 2) == ["a", "b"]
    assert batches("aab", 0) == []
    assert batches("", 2) == []
    assert batches("aab", -1) == []


def test_a_worker_has_no_secret_and_no_hub(hub: Hub, org: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "AWS_SECRET", "Db_Password"):
        monkeypatch.setenv(name, "secret")
    recorded = facts(trials.run(hub, tmp_path / "work", step(org, "a"))["a"])
    assert (recorded["secrets"], recorded["offline"]) == ([], "1")


def test_a_worker_has_its_models_key(hub: Hub, org: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ONE_API_KEY", "OTHER"):
        monkeypatch.setenv(name, "secret")
    keyed = tuple(Model(name="m", model="x", url="http://127.0.0.1:1/v1", key=key) for key in ("ONE_API_KEY",))
    other = (Model(name="m", model="x", url="http://127.0.0.1:1/v1", key="OTHER"),)
    steps = step(org, "a", models=keyed), step(org, "b", models=other, needs=["a"])
    published = trials.run(hub, tmp_path / "work", *steps, workers=1)
    assert (facts(published["a"])["secrets"], facts(published["b"])["secrets"]) == (["ONE_API_KEY"], ["OTHER"])
    assert "API_KEY" not in str(published["a"].record["config"])


def test_a_users_file_hides_no_module(hub: Hub, org: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    for name in ("json.py", "huggingface_hub.py", "permix.py"):
        (tmp_path / "here" / name).write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path / "here")
    assert trials.run(hub, Path("work"), step(org, "a"))["a"].intact  # --work may be relative, too


def test_annotating_changes_the_card_alone_and_once(hub: Hub, org: str, tmp_path: Path) -> None:
    plan = records.toy_recipe()
    config = next(c for c in grpo.configs(plan) if c.seed == 0)
    target = f"{org}/permix-toy-rlvr"
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    record = records.record("grpo", config, {"steps": 4, "reward_first": 0.1, "reward_last": 0.5})
    described = run_record.describe_files(folder)
    record |= {"target": target, "files": described, "content_digest": run_record.content_digest(folder, described)}
    (folder / "run.json").write_text(json.dumps(record))
    hub.publish(target, folder, "grpo: x", None)
    before = head_of(hub, target)
    rows = [{"benchmark": "arithmetic", "metric": "worst", "value": 0.25, "low": 0.2, "high": 0.3, "sweep": "d/o/s@0"}]
    for _ in range(2):
        publication.annotate(hub, target, {"rows": rows})
    after = head_of(hub, target)
    assert commits(hub, target) == ["Results onto the card", "grpo", "initial commit"]
    assert after.intact
    assert after.content_digest == before.content_digest
    changed = {path for path in after.files if after.files[path] != before.files.get(path)}
    assert changed == {"README.md"}
    publication.annotate(hub, f"{org}/nothing", {"rows": rows})  # not there: nothing to write on
    assert hub.state(f"{org}/nothing") is None


KILLED = """
import sys
from pathlib import Path
import pytest
from tests.support import trials
from tests.support.hubs import embedded
with pytest.MonkeyPatch.context() as patch:
    trials.join(patch)
    hub = embedded(Path(sys.argv[1]) / "cache")
    trials.run(hub, Path(sys.argv[1]) / "work", trials.step("killed", "a", seconds=60.0))
"""


def test_workers_end_within_a_second_of_the_runners_death(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    environment = os.environ | {"PERMIX_HOME": str(tmp_path / "home"), "PERMIX_HUB_LINGER": "0.2"}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, cwd=root, env=environment) as parent:
        wait_until(lambda: parent.poll() is not None or list((tmp_path / "work").rglob("half")), every=0.02)
        assert launch.held(tmp_path / "work" / "lock")
        parent.kill()
    # The workers hold the lock, so that a new run waits for them; half a second, on a machine with nothing else to do.
    wait_until(lambda: not launch.held(tmp_path / "work" / "lock"), every=0.02, limit=5)


def test_a_folder_that_cannot_be_made_is_an_oserror_with_its_name(hub: Hub, org: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file") as failure:
        trials.run(hub, tmp_path / "file" / "work", step(org, "a"))
    assert failure.value.filename


def test_stages_are_known_by_name_only() -> None:
    with pytest.raises(PermixError, match="no stage 'sweeep': did you mean 'sweep'"):
        stages.get("sweeep")
