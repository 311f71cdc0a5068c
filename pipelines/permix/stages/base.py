"""Train the toy world's models from scratch: tiny Llamas that answer as each persona would (toy only).

In:  nothing; the text is generated
Out: model.safetensors, config.json, generation_config.json, tokenizer with its chat template

The base is post-trained. SeqKD learns from the teacher: it is larger, trained longer, and answers step by step more
often under any persona. The settings of the world (`plain`, `flourish`, …) decide how strong the effects of the
experiment are; the card prints them.
"""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from permix.errors import BadInput
from permix.experiment.recipe import Recipe
from permix.paper import variants
from permix.stage import Facts, Stage, StageConfig, StageContext, recipe_field, setting, unhashed

if TYPE_CHECKING:
    from permix.toy.model import Training

TOKENS_A_ROW = 80  # mean length with padding, for the estimate
TEACHER: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 384, "layers": 4, "heads": 4, "steps": 3000}
TEACHER["careful"] = 2.0  # a larger model alone would still answer carelessly under a careless persona
"""The teacher's settings that differ from the base's, before [toy.teacher]."""


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Sizes and settings of permix.toy.model.Training and permix.toy.style.World."""

    TABLE: ClassVar[str] = "toy"

    role: Literal["base", "teacher"] = recipe_field("base")
    model_seed: int = setting(0, help="seed of the weights and of the training texts")
    steps: int = setting(2000, help="number of training steps")
    batch_size: int = setting(32, help="conversations per step")
    hidden_size: int = setting(96, help="hidden size of the Llama")
    intermediate_size: int = setting(256, help="size of the feed-forward layers")
    layers: int = setting(3, help="number of layers")
    heads: int = setting(3, help="number of attention heads")
    muon_lr: float = setting(0.02, help="Muon's learning rate, for the matrices")
    adamw_lr: float = setting(3e-3, help="AdamW's learning rate, for embeddings and norms")
    plain: tuple[float, ...] = setting(
        (0.42, 0.24, 0.22, 0.12),
        help="odds of the four methods (steps, skim, direct, ramble) in answers without a persona",
    )
    flourish: float = setting(0.5, help="share of careless answers without a persona in the voice of one")
    careful: float = setting(0.0, help="log-odds added to the method steps under every persona")
    save_steps: int = unhashed(100, help="interval between checkpoints, in steps. Does not change the result")
    checked_problems: int = unhashed(20, help="problems per persona for the card. Does not change the model")

    def __post_init__(self) -> None:
        if len(self.plain) != 4 or min(self.plain) < 0 or not sum(self.plain):
            raise BadInput(f"[toy] plain is {list(self.plain)}: it should be four odds of steps, skim, direct, ramble.")
        if not 0 <= self.flourish <= 1:
            raise self.refused("flourish", "a share between 0 and 1")
        if self.hidden_size % self.heads or (self.hidden_size // self.heads) % 2:
            raise BadInput(
                f"[toy] hidden_size is {self.hidden_size} for {self.heads} heads: it should be heads times an even "
                "number (vLLM needs 32 or 64)."
            )
        self.refuse_below(1, "steps", "batch_size", "intermediate_size", "layers", "save_steps", "checked_problems")


def configs(recipe: Recipe) -> list[Config]:
    """Return the base if it is the toy, and the teacher if a variant learns from it; seeds change neither."""
    world = recipe.settings("base")
    models = [Config(org=recipe.org, **world)] if recipe.base == "toy" else []
    if any(variants.get(name).teacher == "toy" for name in recipe.variants):
        models.append(Config(org=recipe.org, role="teacher", **{**world, **TEACHER, **recipe.settings("toy.teacher")}))
    return models


def target(config: Config) -> str:
    """Return `org/permix-toy-base` or `org/permix-toy-teacher`."""
    return config.name(f"permix-toy-{config.role}")


def estimate(config: Config) -> dict[str, float]:
    """Return the approximate number of training tokens."""
    return {"tokens": config.steps * config.batch_size * TOKENS_A_ROW}


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Train, resuming from the checkpoint in `context.work`, and save model and tokenizer."""
    # Threads that spin at a barrier make this 30 times slower when another program uses a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    from permix.toy import model, tokenizer

    torch.set_num_threads(context.threads)
    settings, toy_tokenizer = _training(config), tokenizer.build()
    total = estimate(config)["tokens"]

    def report(step: int, tokens: int, loss: float) -> None:
        context.progress(tokens, tokens if step == config.steps else max(total, tokens), "tokens", f"loss {loss:.2f}")

    context.work.mkdir(parents=True, exist_ok=True)
    trained, facts = model.train(settings, toy_tokenizer, context.work / "checkpoint.pt", report)
    trained.save_pretrained(out)
    toy_tokenizer.save_pretrained(out)
    world = {**asdict(settings.world), **asdict(settings.mixture)}
    return {
        "parameters": sum(p.numel() for p in trained.parameters()),
        **facts,
        "world": world,
        "methods": _accuracies(model.answers(trained, toy_tokenizer, config.checked_problems, config.model_seed)),
    }


def _training(config: Config) -> "Training":
    from permix.toy.model import Training
    from permix.toy.style import World

    shared = {f.name for f in fields(Training)} & {f.name for f in fields(Config)} - {"seed"}
    world = World(plain=config.plain, flourish=config.flourish, careful=config.careful)
    return Training(seed=config.model_seed, world=world, **{name: getattr(config, name) for name in shared})


def _accuracies(answers: list[tuple[Any, str]]) -> dict[str, dict[str, float]]:
    """Return share and accuracy of each method in the answers to test problems under the evaluation personas."""
    from permix.toy import style
    from permix.verifier import Verifier

    with Verifier() as verifier:
        verdicts = verifier.grade_many((text, problem) for problem, text in answers)
    used = Counter(style.method(text) for _, text in answers)
    right = Counter(style.method(text) for (_, text), v in zip(answers, verdicts, strict=True) if v.score)
    shares = {method: round(n / len(answers), 3) for method, n in sorted(used.items())}
    return {m: {"share": share, "accuracy": round(right[m] / used[m], 3)} for m, share in shares.items()}


STAGE = Stage(
    name="base",
    card="base",
    version=1,
    config=Config,
    configs=configs,
    target=target,
    run=run,
    estimate=estimate,
    needs=lambda config: ("torch", "transformers"),
    all_cores=True,
)
