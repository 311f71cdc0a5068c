"""A trainer page of ours against a bare TRL script: same model, rows, settings and seed; CPU time and peak memory.

CPU time, with that of the child processes (the verifier), because the other work of a machine hardly changes it.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from permix.pipeline import recipes
from permix.stage import StageContext
from permix.stages import mixtures, personas
from tests.bench.row import Row
from tests.support.models import make_tiny_model

STEPS, ROUNDS, DROPPED = 12, 3, 2

CLOCK = """
import os, time
from pathlib import Path
def clock():
    total = time.process_time()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            entry = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(entry[1]) == os.getpid():
            total += (int(entry[11]) + int(entry[12])) / os.sysconf("SC_CLK_TCK")
    return total
"""

OURS = """
import json, resource, sys
from pathlib import Path
import torch
from permix import stages
from permix.stage import StageContext
torch.set_num_threads(1)
stage, settings, base, mixture, out, steps = sys.argv[1:7]
ticks = []
def progress(done, total, unit, note=""):
    ticks.append(clock())
page = stages.get(stage)
config = page.config(variant="permix-" + stage, base="org/base", base_slug="base", mixture="datasets/org/mixture",
    max_steps=int(steps), save_steps=1000, lora_dropout=0.0, **json.loads(settings))
(Path(out) / "work").mkdir(parents=True)
(Path(out) / "out").mkdir()
parts = StageContext(Path(out) / "work", {"base": "org/base@" + "0" * 40}, {}, progress, 1, None)
trainer = page.run(config, {"base": Path(base), "mixture": Path(mixture)}, Path(out) / "out", context=parts)
print(json.dumps([[b - a for a, b in zip(ticks, ticks[1:])], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""

BARE = """
import json, resource, sys
from pathlib import Path
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
import pyarrow.parquet as parquet
torch.set_num_threads(1)
stage, settings, base, mixture, out, steps = sys.argv[1:7]
rows = parquet.read_table(Path(mixture) / "data" / "train-00000-of-00001.parquet").to_pylist()
linear = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ticks = []
class Clock(TrainerCallback):
    def on_log(self, args, state, control, **kw):
        ticks.append(clock())
shared = dict(output_dir=out, use_cpu=True, bf16=False, report_to="none", disable_tqdm=True, seed=0,
    gradient_checkpointing=False, logging_steps=1, save_strategy="no", max_steps=int(steps), lr_scheduler_type="cosine",
    warmup_steps=0.05, dataloader_pin_memory=False, **json.loads(settings))
common = dict(
    model=AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
    processing_class=AutoTokenizer.from_pretrained(base),
    peft_config=LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=linear, task_type="CAUSAL_LM"),
    callbacks=[Clock()],
)
if stage == "sft":
    from trl import SFTConfig, SFTTrainer
    data = Dataset.from_list([{"prompt": r["prompt"], "completion": r["completion"]} for r in rows])
    trainer = SFTTrainer(args=SFTConfig(**shared), train_dataset=data, **common)
else:
    from trl import GRPOConfig, GRPOTrainer
    from trl.rewards import accuracy_reward
    data = Dataset.from_list([{"prompt": r["prompt"], "solution": "$" + r["gold"] + "$"} for r in rows])
    args = GRPOConfig(weight_decay=0.1, max_grad_norm=0.1, adam_beta2=0.99, **shared)
    trainer = GRPOTrainer(args=args, train_dataset=data, reward_funcs=accuracy_reward, **common)
trainer.train()
print(json.dumps([[b - a for a, b in zip(ticks, ticks[1:-1])], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""


def compare(stage: str, variant: str, settings: dict[str, float]) -> Iterator[Row]:
    """Alternate both, so that a slow moment of the machine hits both; drop the first steps."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_tiny_model(root / "base")
        _mixture(root, variant)
        times: dict[str, list[float]] = {"ours": [], "bare": []}
        memory: dict[str, list[float]] = {"ours": [], "bare": []}
        for turn in range(ROUNDS):
            for name, code in (("ours", OURS), ("bare", BARE)):
                paths = [str(root / "base"), str(root), str(root / f"{name}-{turn}")]
                command = [sys.executable, "-c", CLOCK + code, stage, json.dumps(settings), *paths, str(STEPS)]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    raise RuntimeError(done.stderr)
                steps, peak = json.loads(done.stdout.splitlines()[-1])
                times[name] += steps[DROPPED:]
                memory[name].append(peak / 1024)
        ours, bare = (statistics.median(times[name]) for name in ("ours", "bare"))
        title = stage.upper()
        yield Row(
            f"{title} speed / bare TRL",
            bare / ours,
            0.95,
            ">=",
            f"CPU time: {ours:.3f} s / {bare:.3f} s a step, median",
        )
        here, there = (statistics.median(memory[name]) for name in ("ours", "bare"))
        yield Row(f"{title} peak memory / bare TRL", here / there, 1.05, detail=f"{here:.0f} MB / {there:.0f} MB")


def _mixture(root: Path, variant: str) -> None:
    """A mixture of the toy world as the stage writes it."""
    loaded = replace(recipes.load("toy"), variants=(variant,))
    parts = StageContext(root, {}, {}, lambda *_: None, 1, None)  # type: ignore[arg-type]
    (root / "personas").mkdir()
    personas.run(personas.configs(loaded)[0], {}, root / "personas", context=parts)
    mixtures.run(mixtures.configs(loaded)[0], {"personas": root / "personas"}, root, context=parts)
