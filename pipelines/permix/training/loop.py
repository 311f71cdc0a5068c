"""Training that survives kills: it resumes from the newest complete checkpoint."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from permix import files
from permix.errors import PermixError
from permix.stage import StageContext
from permix.training.settings import TrainerConfig

MARK = "complete"
"""The file that is written last into a checkpoint."""
TIMES = ("step_time", "train_runtime", "train_tokens_per_second")


def train(trainer: Any, config: TrainerConfig) -> list[dict[str, Any]]:
    """Train, resuming from a complete checkpoint; return a row per logged step. PermixError when memory runs out."""
    with memory(config):
        trainer.train(resume_from_checkpoint=resumable(Path(trainer.args.output_dir)))
    return [comparable(entry) for entry in trainer.state.log_history if "loss" in entry]


def complete(checkpoints: Path) -> list[Path]:
    """Return the complete checkpoints, newest first; a kill may have left an incomplete one."""
    return sorted((path.parent for path in checkpoints.glob(f"checkpoint-*/{MARK}")), key=number, reverse=True)


def number(checkpoint: Path) -> int:
    """Return the step of a checkpoint."""
    return int(checkpoint.name.split("-")[1])


def resumable(checkpoints: Path) -> str | None:
    """Return the newest complete checkpoint before the last step; TRL would train one step more from the last."""
    for path in complete(checkpoints):
        state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        if state["global_step"] < state["max_steps"]:
            return str(path)
    return None


def report(context: StageContext, metric: str) -> Any:
    """Return the callback that shows progress with `metric` and marks complete checkpoints."""
    from accelerate import PartialState
    from transformers import TrainerCallback

    class Report(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            if logs and logs.get(metric) is not None and "loss" in logs and state.is_world_process_zero:
                context.progress(state.global_step, state.max_steps, "steps", f"{metric} {logs[metric]:.2f}")

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            PartialState().wait_for_everyone()  # each process writes the state of its own random numbers
            if state.is_world_process_zero:
                files.write_bytes(Path(args.output_dir) / f"checkpoint-{state.global_step}" / MARK, b"")

    return Report()


def comparable(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a log entry without its times, so that two equal trainings have equal logs."""
    timeless = {name: value for name, value in entry.items() if name not in TIMES}
    if "num_input_tokens_seen" in timeless:  # SFTTrainer's own num_tokens starts at 0 after a kill
        timeless["num_tokens"] = timeless.pop("num_input_tokens_seen")
    return timeless


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write `rows` as JSON lines with sorted keys."""
    text = "".join(json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n" for row in rows)
    files.write_bytes(path, text.encode())


@contextmanager
def memory(config: TrainerConfig) -> Iterator[None]:
    """Raise PermixError with the settings to lower when memory runs out."""
    import torch

    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        # A CPU's allocator raises a plain RuntimeError.
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise PermixError(
                f"Out of memory while training {config.variant}: lower [{config.TABLE}] per_device_train_batch_size "
                f"(now {config.per_device_train_batch_size}) and raise gradient_accumulation_steps by the same factor, "
                "or set gradient_checkpointing = true or load_in_4bit = true."
            ) from None
        raise
