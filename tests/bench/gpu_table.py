"""The table of tests/bench/gpu.sh: speed, memory and MFU of its trainings and sweeps, from logs and run records.

MFU counts 2 FLOP per parameter and sampled token, and 4 per trained one (LoRA omits gradients of the base's weights),
against the GPU's dense 16-bit FLOP/s by its data sheet.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from permix import run_record
from permix.pipeline.estimate import shapes
from permix.pipeline.estimate.costs import device_of
from permix.publishing import hub as hubs
from permix.results.formatting import aligned

TITLES = ("", "steps/s", "tokens sampled/s", "tokens trained/s", "seconds", "memory, MiB", "MFU")


def training(state: dict[str, Any], completions: int) -> tuple[float, float, float]:
    """Return (steps, sampled tokens, trained tokens) per second from a trainer's log, without its first step.

    Trained tokens include those of prompts; a step has `completions` completions.
    """
    log = [entry for entry in state["log_history"] if "step_time" in entry]
    rest = log[1:] or log
    seconds = sum(entry["step_time"] for entry in rest)
    sampled = completions * sum(entry["completions/mean_length"] for entry in rest)
    before = log[0]["num_tokens"] if log[1:] else 0
    return len(rest) / seconds, sampled / seconds, (log[-1]["num_tokens"] - before) / seconds


def mfu(parameters: int, sampled: float, trained: float) -> str:
    """Return the used share of the GPU's FLOP/s; "-" without a GPU of the table of devices."""
    names = run_record.hardware()["gpu"]
    device = device_of(names[0]) if names else None
    return f"{parameters * (2 * sampled + 4 * trained) / device.flops:.3f}" if device else "-"


def memory(path: Path) -> str:
    """Return the largest number in a file of numbers, "-" without one."""
    readings = [int(word) for word in path.read_text().split()] if path.is_file() else []
    return str(max(readings)) if readings else "-"


def main(base: str, out: Path, tags: list[str]) -> None:
    """Print a row for each training and sweep of the runs called `tags`."""
    hub = hubs.connect(None)
    slug, parameters = base.partition("/")[2], shapes.on(hub, base).parameters
    cells = [TITLES]
    for tag in tags:
        peak = memory(out / f"{tag}.memory")
        adapter = hub.artifact(f"bench/{slug}-permix-rlvr-{tag}")
        if adapter and (out / f"{tag}.json").is_file():
            config = adapter.record["config"]
            batch = config["per_device_train_batch_size"] * config["gradient_accumulation_steps"]
            rates = training(json.loads((out / f"{tag}.json").read_text()), batch)
            numbers = (
                f"{rates[0]:.3f}",
                f"{rates[1]:.0f}",
                f"{rates[2]:.0f}",
                f"{adapter.record['cost']['seconds']:.0f}",
            )
            cells.append((f"GRPO, {tag}", *numbers, peak, mfu(parameters, *rates[1:])))
        sweeps = [hub.artifact(f"datasets/bench/permix-sweep-{slug}-{name}-{tag}") for name in ("base", "permix-rlvr")]
        costs = [sweep.record["cost"] for sweep in sweeps if sweep]
        if costs:
            seconds = sum(cost["seconds"] for cost in costs)
            rate = statistics.fmean(cost["tokens_out"] / cost["seconds"] for cost in costs)
            cells.append((f"sweeps, {tag}", "-", f"{rate:.0f}", "-", f"{seconds:.0f}", peak, mfu(parameters, rate, 0)))
    print(aligned(cells))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
