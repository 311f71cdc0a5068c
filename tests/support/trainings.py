"""Real trainings of stages sft and grpo on a tiny base: in this process, or in one of their own that gets killed."""

import contextlib
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from permix import stages
from permix.prompting.prompts import Messages, messages
from permix.stage import StageContext
from permix.stages import mixtures
from tests.support import warm
from tests.support.models import make_tiny_model

SHA = "0123456789" * 4
SETTINGS: dict[str, Any] = {
    "base": "org/tiny", "base_slug": "tiny", "mixture": "datasets/org/mixture", "learning_rate": 1e-2,
    "per_device_train_batch_size": 16, "max_steps": 6, "save_steps": 2, "lora_r": 4, "lora_dropout": 0.05,
}  # fmt: skip
OF_STAGE: dict[str, dict[str, Any]] = {
    "sft": {"variant": "permix-sft-gold", "max_length": 64},
    "grpo": {"variant": "permix-rlvr", "max_completion_length": 1, "num_generations": 8, "max_grad_norm": 1.0},
}
Trained = tuple[Path, dict[str, Any]]
"""The output folder of a training, and its facts."""
PERSONAS = (None, "chemist", "poet")


def config_of(stage: str, **settings: Any) -> Any:
    """A Config of the stage for the tiny base."""
    return stages.get(stage).config(**(SETTINGS | OF_STAGE[stage] | settings))


def parts_of(work: Path, progress: Callable[..., None] = lambda *_: None) -> StageContext:
    """What a trainer is given; no sampler, which no trainer uses."""
    return StageContext(work, {"base": f"org/tiny@{SHA}"}, {}, progress, 1, None)  # type: ignore[arg-type]


def make_inputs(root: Path) -> dict[str, Path]:
    """A tiny base, and problems whose gold is the token it likes best: so some of its samples are right."""
    torch.set_num_threads(1)
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars of the model library
        make_tiny_model(root / "base")
        tokenizer, model = (c.from_pretrained(root / "base") for c in (AutoTokenizer, AutoModelForCausalLM))
    rows = []
    for number in range(200):
        chat = messages(f"{number} + {number}?", instruction="plain")
        if persona := PERSONAS[number % len(PERSONAS)]:
            chat = [{"role": "system", "content": f"You are a {persona}."}, *chat]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            liked = tokenizer.decode(model(**ids).logits[0, -1].argmax()).strip()
        if liked.isascii() and liked.isalnum():
            rows.append(row(f"p/{number}", chat, liked, persona, f"So it is {number + number}."))
    assert len(rows) >= 32
    write_mixture(rows, root / "mixture")
    return {"base": root / "base", "mixture": root / "mixture"}


def row(problem: str, chat: Messages, gold: str, persona: str | None = None, target: str = "So 1.") -> dict[str, Any]:
    """One row of a mixture."""
    reply = [{"role": "assistant", "content": target}]
    named = {"problem_id": problem, "question": "", "gold": gold, "kind": "exact", "persona": persona}
    return named | {"prompt": chat, "completion": reply}


def write_mixture(rows: list[dict[str, Any]], folder: Path) -> Path:
    """The rows as stage mixtures writes them."""
    mixtures.write(rows, folder / "data" / "train-00000-of-00001.parquet")
    return folder


def train(stage: str, inputs: dict[str, Path], folder: Path, **settings: Any) -> Trained:
    """Run the stage here; return its output folder and its facts."""
    out = folder / "out"
    out.mkdir(parents=True, exist_ok=True)
    page: ModuleType = stages.get(stage)
    facts = page.run(config_of(stage, **settings), inputs, out, context=parts_of(folder / "work"))
    return out, facts


def _train_until(step: int, stage: str, inputs: dict[str, Path], folder: Path, settings: dict[str, Any]) -> None:
    """Run the stage until it reports `step`, and be killed."""

    def progress(done: float, *_: object) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    page: ModuleType = stages.get(stage)
    page.run(config_of(stage, **settings), inputs, folder / "out", context=parts_of(folder / "work", progress))


def train_killed(stage: str, inputs: dict[str, Path], folder: Path, step: int, **settings: Any) -> None:
    """Run the stage in a process of its own that is killed when it reports `step`."""
    (folder / "out").mkdir(parents=True)
    assert warm.Child(_train_until, step, stage, inputs, folder, settings).wait() == -signal.SIGKILL
    half = folder / "work" / "checkpoints" / "checkpoint-9"  # as a kill in the middle of a save leaves it
    half.mkdir(parents=True)
    (half / "adapter_model.safetensors").write_bytes(b"half")
