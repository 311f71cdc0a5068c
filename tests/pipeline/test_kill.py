"""A run that is killed and started again ends with what an undisturbed run gives. `make soak` does it twenty times."""

import glob
from pathlib import Path

from huggingface_hub import CommitOperationAdd

from permix.publishing.hub import split
from tests.support.command_line import permix_here
from tests.support.hubs import hub_of
from tests.support.kills import contents, kill_run_when

ADAPTER, SWEEP = "permix-smoke/permix-toy-rlvr", "datasets/permix-smoke/permix-sweep-permix-toy-rlvr"


def test_two_kills_change_nothing(smoke: Path, own_smoke: Path) -> None:
    """One kill while an adapter is trained, after its first checkpoint, and one while its sweep is sampled."""
    hub = hub_of(own_smoke)

    def edit(target: str, path: str) -> str:
        """Change a file, so that the artifact is stale; return the commit."""
        kind, repo = split(target)
        operation = CommitOperationAdd(path, b"{}")
        return str(hub.api.create_commit(repo, [operation], repo_type=kind, commit_message="Edit").oid)

    def working(pattern: str) -> list[Path]:
        """The matching files of steps that run."""
        work = own_smoke / "work"
        matches = glob.glob(f"**/{pattern}", root_dir=work, recursive=True)  # noqa: PTH207  rglob fails where one vanishes
        return [work / path for path in matches]

    def journals() -> list[Path]:
        """The journals of sweeps that hold completions below their header."""
        return [path for path in working("completions.jsonl") if path.read_bytes().count(b"\n") > 1]

    edited = {name: edit(name, path) for name, path in ((ADAPTER, "adapter_config.json"), (SWEEP, "summary.json"))}
    kill_run_when(own_smoke, lambda: working("checkpoint-2/trainer_state.json"))
    assert working("checkpoint-2")
    assert hub.state(ADAPTER).sha == edited[ADAPTER]
    kill_run_when(own_smoke, journals)
    assert journals()
    assert hub.state(SWEEP).sha == edited[SWEEP]
    last = permix_here(own_smoke, "run", "--recipe", "smoke").stderr
    assert [line.split()[1] for line in last.splitlines() if line.startswith("making")] == [SWEEP], "equal content"
    assert contents(own_smoke) == contents(smoke)
