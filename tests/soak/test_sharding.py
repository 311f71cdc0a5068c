"""FSDP by the recipe's accelerate file: real shards in two processes, on a CPU."""

from pathlib import Path

import pytest

from permix.pipeline import ranks
from tests.support.ranks import SETTINGS, assert_same, in_every_rank, job_of
from tests.support.trainings import make_inputs, train


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_fsdp_by_trls_file_gives_a_whole_adapter(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every matrix is cut in two, also the adapter's; accelerate shards over GPUs only, and here it is let to."""
    inputs = make_inputs(tmp_path / "inputs")
    in_every_rank("allow_without_gpus", tmp_path, monkeypatch)
    message = ranks.run(job_of(stage, inputs, tmp_path, accelerate_config="fsdp2"), lambda _: None)
    assert message.kind == "done", message.value
    assert (tmp_path / "work" / "halved").read_text() == "True"
    alone, facts = train(stage, inputs, tmp_path / "alone", **SETTINGS)
    assert message.value[0]["steps"] == facts["steps"]
    if stage == "sft":  # GRPO's processes sample other completions than one does
        assert_same(alone, tmp_path / "out")
