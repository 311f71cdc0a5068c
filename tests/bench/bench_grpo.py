"""A GRPO step of stage grpo against the same step in a bare TRL script: same model, prompts, settings and seed."""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.row import Row
from tests.tiny_model import make_tiny_model

STEPS, ROUNDS = 12, 3

BARE = """
import json, sys
from pathlib import Path
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer
from trl.rewards import accuracy_reward
import pyarrow.parquet as parquet
torch.set_num_threads(1)
base, mixture, out, steps = sys.argv[1:5]
rows = parquet.read_table(Path(mixture) / "data" / "train-00000-of-00001.parquet").to_pylist()
data = Dataset.from_list([{"prompt": r["prompt"], "solution": "$" + r["gold"] + "$"} for r in rows])
linear = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
trainer = GRPOTrainer(
    model=AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
    reward_funcs=accuracy_reward,
    args=GRPOConfig(output_dir=out, use_cpu=True, bf16=False, report_to="none", disable_tqdm=True, seed=0,
        gradient_checkpointing=False, logging_steps=1, save_strategy="no", max_steps=int(steps),
        dataloader_pin_memory=False, per_device_train_batch_size=64, num_generations=8, max_completion_length=64,
        learning_rate=3e-3),
    train_dataset=data,
    processing_class=AutoTokenizer.from_pretrained(base),
    peft_config=LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=linear, task_type="CAUSAL_LM"),
)
trainer.train()
print(json.dumps([e["step_time"] for e in trainer.state.log_history if "step_time" in e]))
"""

OURS = """
import json, sys, time
from pathlib import Path
import torch
from permix.stage import Parts
from permix.stages import grpo
torch.set_num_threads(1)
base, mixture, out, steps = sys.argv[1:5]
ticks = []
def progress(done, total, unit, note=""):
    ticks.append(time.perf_counter())
config = grpo.Config(variant="permix-rlvr", base="org/base", base_slug="base", mixture="datasets/org/mixture",
    learning_rate=3e-3, max_steps=int(steps), max_completion_length=64, lora_dropout=0.0, save_steps=10)
(Path(out) / "work").mkdir(parents=True)
(Path(out) / "out").mkdir()
parts = Parts(Path(out) / "work", {"base": "org/base@" + "0" * 40}, {}, progress, 1, None)
grpo.run(config, {"base": Path(base), "mixture": Path(mixture)}, Path(out) / "out", parts=parts)
print(json.dumps([b - a for a, b in zip(ticks, ticks[1:])]))
"""


def rows() -> Iterator[Row]:
    """Alternate both, so that a slow moment of the machine hits both; drop the first steps."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_tiny_model(root / "base")
        _mixture(root)
        times: dict[str, list[float]] = {"ours": [], "bare": []}
        for turn in range(ROUNDS):
            for name, code in (("ours", OURS), ("bare", BARE)):
                arguments = [str(root / "base"), str(root), str(root / f"{name}-{turn}"), str(STEPS)]
                done = subprocess.run(
                    [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
                )
                times[name] += json.loads(done.stdout.splitlines()[-1])[2:]
        ours, bare = (statistics.median(times[name]) for name in ("ours", "bare"))
        yield Row("GRPO step / bare TRL step", ours / bare, 1.05, detail=f"{ours:.3f} s / {bare:.3f} s, median")


def _mixture(root: Path) -> None:
    """A mixture as the stage writes it."""
    from permix import recipe
    from permix.stage import Parts
    from permix.stages import mixtures, personas

    loaded = recipe.load("toy")
    parts = Parts(root, {}, {}, lambda *_: None, 1, None)  # type: ignore[arg-type]
    (root / "personas").mkdir()
    personas.run(personas.configs(loaded)[0], {}, root / "personas", parts=parts)
    config = next(c for c in mixtures.configs(loaded) if c.variant == "permix-rlvr")
    mixtures.run(config, {"personas": root / "personas"}, root, parts=parts)
