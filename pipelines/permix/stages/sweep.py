"""Measure one variant: all personas and controls x all problems x all runs, on every benchmark (sections 3.1 and 4.2).

With `peer`, an answer takes several completions: other methods for robustness, measured like variants (shared.peers).

In:  base, unless the model is served; personas (pool eval); an adapter (none for base); the datasets of the benchmarks
Out: data/<benchmark>/test-00000-of-00001.parquet: one row per completion (permix.stages.shared.sweep_rows.COLUMNS);
     summary.json: every number, a function of the rows
"""

import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from permix import benchmarks, files, run_record
from permix.benchmarks import Source, sizes
from permix.errors import BadInput
from permix.experiment.models import Model
from permix.experiment.recipe import Recipe
from permix.paper import variants
from permix.parquet import Row
from permix.prompting import persona
from permix.prompting.persona import Persona
from permix.results.measures import sweep_numbers
from permix.sampling.sampler import Backend, Dtype, Sampling
from permix.stage import Facts, Replay, Stage, StageConfig, StageContext, Tables, recipe_field, setting, unhashed
from permix.stages.shared import models, sweep_rows
from permix.stages.shared.peers import PEERS, Name
from permix.verifier import Problem
from permix.verifier.answer import Rule


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """`model` is a served model, and `base` its name on the server."""

    TABLE: ClassVar[str] = "sweep"

    variant: str = recipe_field()
    base: str = recipe_field()
    base_slug: str = recipe_field()
    toy: bool = recipe_field(False)
    personas: str = recipe_field()
    pool_size: int = recipe_field(16, unhashed=True)  # for estimates and notes
    benchmarks: tuple[Source, ...] = recipe_field()
    adapter: str = recipe_field("", unhashed=True)  # its content is hashed
    model: Model | None = recipe_field(None, unhashed=True)
    label: str = unhashed(
        "", help="suffix of the artifact's name, for a sweep beside the recipe's. The tables do not include it"
    )
    peer: Name = setting("", help="answer by several completions: restate or ensemble. The tables do not include it")
    runs: int = setting(5, help="repetitions of each condition (5 in the paper)")
    limit: int = setting(0, help="number of problems per benchmark, its first (0: all)")
    temperature: float = 0.6
    top_p: float = 0.9
    max_tokens: int = 2048
    answer_rule: Rule = setting(
        "marked", help="which text is the answer: marked (in a box or after ####), boxed or last-number"
    )
    batch_size: int = 256  # hashed: another batch size may round differently
    dtype: Dtype = "auto"
    backend: Backend = "transformers"  # hashed: other kernels round differently
    gpus: int = unhashed(1)
    tensor_parallel: int = unhashed(1)
    max_lora_rank: int = unhashed(16)
    budget: float = unhashed(0.0, help="limit in USD for a served model (0: no limit). Does not change the result")
    draws: int = setting(1000, help="bootstrap samples for the intervals")

    def __post_init__(self) -> None:
        self.refuse_below(1, "runs", "max_tokens", "batch_size", "gpus", "tensor_parallel", "max_lora_rank", "draws")
        self.refuse_below(0, "budget")
        if self.limit < 0:
            raise self.refused("limit", "0 (all) or more")
        if self.budget and self.peer:  # an endpoint counts the cost of one round
            raise BadInput("[sweep] budget cannot be combined with peer, which samples in two rounds: omit one.")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise BadInput(
                f"[sweep] temperature {self.temperature} and top_p {self.top_p}: they should be >= 0 and in (0, 1]."
            )
        if self.backend == "vllm" and self.dtype.startswith("nf4"):
            raise BadInput(f"[sweep] dtype is {self.dtype!r}, which vLLM lacks: use backend = 'transformers'.")
        if not re.fullmatch(r"[A-Za-z0-9._-]*", self.label):
            raise BadInput(f"[sweep] label is {self.label!r}: use letters, digits, '.', '_' and '-' only.")

    def completions_on(self, problems: int) -> int:
        """Return the maximum number of completions for these problems, under all personas and controls."""
        return (self.pool_size + len(persona.CONTROLS)) * self.runs * problems * PEERS[self.peer].most


def configs(recipe: Recipe) -> list[Config]:
    """Return one Config for each variant and seed; none for a recipe without benchmarks."""
    shared: dict[str, Any] = {"org": recipe.org, "tag": recipe.tag, "personas": recipe.eval_personas_repo}
    if recipe.eval_personas:
        shared["pool_size"] = len(persona.from_file(Path(recipe.eval_personas)))
    shared |= {"benchmarks": recipe.benchmarks, **recipe.settings("sweep")}
    if not recipe.benchmarks:
        return []
    return [
        Config(seed=seed, **precision(model) | shared | model)
        for name, seed in recipe.runs()
        for model in [measured(recipe, name, seed)]
    ]


def measured(recipe: Recipe, name: str, seed: int) -> dict[str, Any]:
    """Return the fields of the measured model: the recipe's base with a variant's adapter, or another model."""
    if other := variants.other(name):
        values: dict[str, Any] = {"variant": other.variant, "base_slug": other.slug, "adapter": other.adapter}
        if not other.served:
            return values | {"base": other.base}
        served = recipe.model(other.served)
        return values | {"base": served.model, "model": served, "dtype": ""}  # its precision is unknown
    adapter = StageConfig(org=recipe.org, tag=recipe.tag, seed=seed).name(f"{recipe.base_slug}-{name}")
    values = {"variant": name, "base_slug": recipe.base_slug, "base": recipe.base_repo}
    return values | {"toy": recipe.base == "toy", "adapter": "" if variants.get(name).trainer == "none" else adapter}


def precision(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the default precision of a `measured` model; the toy's is spelt out in the records of its artifacts."""
    return {"dtype": "float32"} if model.get("toy") else {}


def target(config: Config) -> str:
    """Return `datasets/org/permix-sweep-<base-slug>-<variant>`, with the peer and the label, if any."""
    stem = "-".join(filter(None, ["permix-sweep", config.base_slug, config.variant, config.peer, config.label]))
    return f"datasets/{config.name(stem)}"


def repository(org: str, tag: str, base_slug: str, name: str, seed: int) -> str:
    """Return the repository of the sweep of the variant `name`, for the stages that read it."""
    other = variants.other(name)
    stem = f"{other.slug}-{other.variant}" if other else f"{base_slug}-{name}"
    return f"datasets/{StageConfig(org=org, tag=tag, seed=seed).name(f'permix-sweep-{stem}')}"


def inputs(config: Config) -> dict[str, str]:
    """Return the base unless the model is served, the adapter, if any, the personas, and the benchmarks' datasets."""
    weights = {"base": "" if config.model else config.base, "adapter": config.adapter}
    repositories = weights | {"personas": config.personas} | {f"benchmark/{s.name}": s.repo for s in config.benchmarks}
    return {name: repo for name, repo in repositories.items() if repo}


def estimate(config: Config) -> dict[str, float]:
    """Return the completions, the maximum of tokens, and their USD if a served model has prices."""
    completions, usd = 0, 0.0
    for source in config.benchmarks:
        count = config.completions_on(sizes.problems(source, config.limit))
        completions += count
        if config.model:
            usd += config.model.price(count * sizes.lengths(source)[0], count * config.max_tokens)
    return {"completions": completions, "tokens": completions * config.max_tokens} | ({"USD": usd} if usd else {})


def notes(config: Config) -> list[str]:
    """Return warnings about benchmarks that are too small to show the paper's effects, and about peers of the toy."""
    counts = {s.name: (sizes.problems(s, config.limit), config.runs, config.pool_size) for s in config.benchmarks}
    warnings = [f"{name}: {note}" for name, count in counts.items() if (note := _too_small(*count))]
    if config.peer and config.toy:
        warnings.append(
            "The toy world's models never met the prompts of a peer: this shows how it works, not how well."
        )
    return warnings


@functools.cache  # it simulates
def _too_small(problems: int, runs: int, personas: int) -> str | None:
    from permix.results.measures import power

    if problems == 1:
        return "PSS of one problem tells nothing."
    return power.too_small(power.Size(problems, runs, personas))


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Read pool and benchmarks from the Hub; BadInput for a mistake in them, before anything is trained."""
    if "personas" in inputs:
        _pool(inputs["personas"])
    for source in config.benchmarks:
        if folder := inputs.get(f"benchmark/{source.name}"):
            _check(source, config.limit, folder)


@functools.cache  # the variants have the same benchmarks; the folder's name has its commit
def _check(source: Source, limit: int, folder: Path) -> None:
    from permix.verifier import Verifier

    with Verifier() as verifier:
        verifier.check_golds(benchmarks.load(source, folder)[: limit or None])


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Sample, grade and summarise; PermixError if the engine or the verifier failed on a row."""
    from permix.verifier import Verifier

    personas = [*persona.CONTROLS, *_pool(inputs["personas"])]
    adapter = models.adapter(inputs, context)
    problems = problems_of(config, inputs)
    noise = config.seed, config.variant
    conditions = sweep_rows.conditions(config.benchmarks, personas, problems, config.runs, noise)
    sampling = Sampling(temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_tokens)
    sampler = models.open_sampler(config.model, inputs.get("base"), config, context, config.budget)
    sweep_rows.sample(conditions, config.peer, sampling, adapter, sampler, context)
    completions = [c for table in conditions.values() for condition in table for c in condition.completions.values()]
    control = next(iter(conditions.values()))[0].question
    template = sampler.facts(control.chat(None), adapter)
    with Verifier() as verifier:
        tables = {
            name: sweep_rows.grade(
                [sweep_rows.sampled(condition, config.peer, sampler.dtype) for condition in table],
                problems[name],
                verifier,
            )
            for name, table in conditions.items()
        }
        runs_code = any(problem.kind == "code" for each in problems.values() for problem in each)
        sandbox = {"sandbox": verifier.sandbox} if runs_code else {}
    for name, rows in tables.items():
        sweep_rows.refuse_missing(name, [row["status"] for row in rows if row["score"] is None])
        sweep_rows.write(rows, out, name)
    summary = summarise(config, tables)
    files.write_json(out / "summary.json", summary)
    engines = sorted({completion.engine for completion in completions if completion.finish != "refusal"})
    refusals = Counter(completion.reason for completion in completions if completion.finish == "refusal")
    more: Facts = template | sandbox | ({"refusals": dict(refusals.most_common(3))} if refusals else {})
    return {"summary": summary, "engines": engines, **more, "cost": models.spent(config.model, completions)}


def summarise(config: Config, tables: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """Return every number of the sweep, from its rows only."""
    variant, peer = variants.VARIANTS.get(config.variant), PEERS[config.peer]
    titles = [variant.title if variant else config.variant, peer.title]
    return {
        "variant": config.variant,
        "title": ", ".join(filter(None, titles)),
        "base": config.base,
        "seed": config.seed,
        "benchmarks": {
            name: sweep_numbers.of_rows(table, draws=config.draws, toy=config.toy)
            | sweep_numbers.of_sound(table, draws=config.draws, toy=config.toy)
            | sweep_numbers.of_refused(table)
            for name, table in tables.items()
        },
    }


def replay(
    recorded: Mapping[str, Any], folder: Path, inputs: Mapping[str, Path]
) -> tuple[Tables, Tables, dict[str, Any]]:
    """Grade the stored completions again; return the stored rows, those with the new grades, and their summary."""
    config = run_record.config_of(Config, recorded)
    problems = problems_of(config, inputs)
    stored = {name: sweep_rows.read(folder, name) for name in problems}
    graded = {name: sweep_rows.regrade(stored[name], problems[name]) for name in problems}
    texts = {problem.id: benchmarks.texts(problem) for every in problems.values() for problem in every}
    graded = {name: [row | texts[row["problem_id"]] for row in table] for name, table in graded.items()}
    return stored, graded, summarise(config, graded)


def _pool(folder: Path) -> list[Persona]:
    pool = persona.load(folder, "eval")
    if len(pool) < 2:
        raise BadInput(f"The pool eval holds {pool[0].key!r} alone: PSS compares at least two personas.")
    return pool


def problems_of(config: Config, inputs: Mapping[str, Path]) -> dict[str, list[Problem]]:
    """Return the problems of every benchmark of the sweep."""
    problems = {s.name: benchmarks.load(s, inputs.get(f"benchmark/{s.name}")) for s in config.benchmarks}
    return {
        name: [replace(problem, rule=config.answer_rule) for problem in every[: config.limit or None]]
        for name, every in problems.items()
    }


STAGE = Stage(
    name="sweep",
    card="sweep",
    version=3,  # rows with a problem's erratum; numbers without such problems in the summary
    config=Config,
    configs=configs,
    target=target,
    inputs=inputs,
    run=run,
    reads=lambda config: benchmarks.reads(config.benchmarks),
    check=check,
    group=models.group,
    estimate=estimate,
    notes=notes,
    needs=models.packages,
    replay=Replay("completions graded again", replay, inputs=("benchmark/",)),
)
