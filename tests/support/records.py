"""Run records and sweeps as the stages make them, with made-up results: for tests of cards and tables."""

import dataclasses
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from permix import benchmarks, files, run_record, stages
from permix.experiment.recipe import Recipe
from permix.pipeline import recipes
from permix.prompting import persona, prompts
from permix.publishing.hub import Hub
from permix.results.measures import sweeps as read_sweeps
from permix.stage import StageConfig
from permix.stages import cases, export, sweep, tables
from permix.stages.shared import sweep_rows
from permix.toy import style
from tests.support import fidelity_records

Inputs = Mapping[str, Mapping[str, str]]

SHA = "0123456789abcdef0123456789abcdef01234567"
BENCHMARKS = ("arithmetic", "arithmetic-long")
LEVELS = {"base": (0.35, 0.85, 0.6), "rlvr": (0.55, 0.95, 0.97), "permix-rlvr": (0.8, 0.97, 0.9)}
SHARED = {"arithmetic": {"n": 8, "train": 400, "test": 500, "found": 7, "share": 0.014}}
VOICES = {"base": 0.9, "rlvr": 0.75, "permix-rlvr": 0.89}
FILES = {
    "personas": ["data/train-00000-of-00001.parquet", "data/eval-00000-of-00001.parquet"],
    "base": ["config.json", "model.safetensors", "tokenizer.json"],
    "export": ["config.json", "model.safetensors", "tokenizer.json"],
    "teachers": [f"data/{kind}/train-00000-of-00001.parquet" for kind in ("plain", "persona")],
    "rewrites": ["data/train-00000-of-00001.parquet"],
    "mixtures": ["data/train-00000-of-00001.parquet"],
    "sft": ["adapter_config.json", "adapter_model.safetensors", "figures/training.png", "log.jsonl", "tokenizer.json"],
    "grpo": ["adapter_config.json", "adapter_model.safetensors", "log.jsonl", "samples.jsonl", "tokenizer.json"],
    "sweep": [*(f"data/{name}/test-00000-of-00001.parquet" for name in BENCHMARKS), "summary.json"],
    "cases": ["data/test-00000-of-00001.parquet"],
    "tables": [f"data/{name}/test-00000-of-00001.parquet" for name in ("ours", "paper", "personas")]
    + ["figures/summary.png", "report.html"],
    **fidelity_records.FILES,
}


@contextmanager
def without_drawing() -> Iterator[None]:
    """Save empty figures: to draw those of the tables takes three seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda self, file, **_: file.write(b"<svg/>"))
        patch.setattr(Figure, "tight_layout", lambda self, **_: None)
        yield


def toy_recipe() -> Recipe:
    """The recipe toy with two seeds."""
    return recipes.load("toy", ["seeds=[0, 1]"])


def foreign_recipe() -> Recipe:
    """A recipe on somebody else's base and benchmark."""
    own = {"dataset": "openai/gsm8k", "config": "main"}
    text = {"base": "meta-llama/Llama-3.1-8B-Instruct", "task": own, "benchmark": {"gsm": own}}
    return recipes.parse({"name": "own", **text}, "own.toml")


def publish(
    hub: Hub, stage: str, target: str, folder: Path, config: StageConfig, inputs: Inputs | None = None, **facts: Any
) -> str:
    """Publish `folder` as the artifact `target` of `stage`, with the record that the runner would write; its commit."""
    described = run_record.describe_files(folder)
    record = run_record.record(
        stage=stage, version=1, target=target, config=config, digest="0" * 64, inputs=inputs or {}, facts=facts,
        cost={"seconds": 1.0}, described=described, content=run_record.content_digest(folder, described),
    )  # fmt: skip
    record |= {"release": "v1.0.0", "created": "2026-04-10T12:00:00Z"}
    files.write_json(folder / "run.json", record)
    return hub.publish(target, folder, f"{stage}: 0", hub.state(target))


def sweep_of(folder: Path, variant: str, seed: int, *, problems: int = 12, toy: bool = True) -> dict[str, Any]:
    """Write the sweep of one variant into `folder`; return its summary. Accuracies rise with the persona's number."""
    personas = [*persona.CONTROLS, *persona.bundled("eval")]
    low, high, plain = LEVELS[variant]
    results: dict[str, list[dict[str, Any]]] = {}
    for number, benchmark in enumerate(BENCHMARKS):
        source = dataclasses.replace(benchmarks.builtin(benchmark), limit=problems)
        loaded = benchmarks.load(source, None)
        results[benchmark] = [
            {
                "problem_id": loaded[problem].id, **source.texts(loaded[problem]),
                "system_prompt": member.system_prompt, "persona": member.key, "run": 0,
                "score": float(_chance(seed, number, at, problem) < share * (1 - 0.2 * number)),
            }
            for at, member in enumerate(personas)
            for share in [plain if at < 2 else low + (high - low) * (at - 2) / 15]
            for problem in range(problems)
        ]  # fmt: skip
        for row in results[benchmark]:
            row |= {
                "erratum": "", "category": next(p.category for p in personas if p.key == row["persona"]), "seed": 1,
                "prompt_digest": "0", "completion": _completion(seed, row, VOICES[variant]), "finish": "stop",
                "tokens_out": 20,
            }  # fmt: skip
            row |= {"extracted": "1", "status": "correct", "adapter_digest": "", "base_dtype": "float32"}
        sweep_rows.write(results[benchmark], folder, benchmark)
    config = next(c for c in sweep.configs(toy_recipe()) if c.variant == variant)
    config = dataclasses.replace(config, seed=seed, toy=toy, draws=200)
    summary = sweep.summarise(config, results)
    (folder / "summary.json").write_text(json.dumps(summary))
    return summary


def _completion(seed: int, row: Mapping[str, Any], voice: float) -> str:
    """A completion without any sum, so often in the persona's voice."""
    return style.voice_of(row["persona"]).openers[0] if _chance(seed, row["persona"], row["problem_id"]) < voice else ""


def _chance(*numbers: object) -> float:
    return random.Random(repr(numbers)).random()


def sweeps(folder: Path, runs: Sequence[tuple[str, int]], **settings: Any) -> dict[str, Path]:
    """The sweeps of all runs below `folder`, by the names of stage tables' inputs."""
    folders = {f"{variant}-seed{seed}": folder / f"{variant}-seed{seed}" for variant, seed in runs}
    for (variant, seed), sweep_folder in zip(runs, folders.values(), strict=True):
        sweep_folder.mkdir(parents=True)
        sweep_of(sweep_folder, variant, seed, **settings)
    return folders


def inputs_of_tables(folder: Path, runs: Sequence[tuple[str, int]], **settings: Any) -> dict[str, Path]:
    """Everything that stage tables reads: sweeps, logs of the adapters, pools, and the cases made of the sweeps."""
    folders = sweeps(folder, runs, **settings)
    for variant, seed in runs:
        adapter_folder = folder / "adapter" / f"{variant}-seed{seed}"
        log = [
            {"step": n, "reward": n / 10, "persona/chef/accuracy": 0.5, "persona/pilot/accuracy": n / 10}
            for n in range(9)
        ]
        files.write_bytes(adapter_folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in log).encode())
        folders[f"adapter/{variant}-seed{seed}"] = adapter_folder
    config = dataclasses.replace(cases.configs(toy_recipe())[0], sweeps=tuple(r for r in runs if r[1] == runs[0][1]))
    by_variant = {variant: folders[f"{variant}-seed{seed}"] for variant, seed in config.sweeps}
    cases.run(config, by_variant, folder / "cases", context=None)  # type: ignore[arg-type]
    return folders | {"personas": files.PERSONAS, "cases": folder / "cases"}


class StageContext:
    """What stage tables uses of permix.stage.StageContext."""

    def __init__(self, config: tables.Config) -> None:
        self.sources = {name: f"{repo}@{SHA}" for name, repo in tables.inputs(config).items()}


def record(stage: str, config: Any, facts: dict[str, Any]) -> dict[str, Any]:
    """The run.json of one artifact, as it comes back from the Hub."""
    page = stages.get(stage)
    described = {name: {"size": 1, "sha256": "0" * 64, "sha1": "0" * 40} for name in FILES[stage]}
    sources = {n: {"repo": r, "revision": SHA, "content_digest": "1" * 64} for n, r in page.inputs(config).items()}
    record = run_record.record(
        stage=stage, version=page.version, target=page.target(config), config=config, digest="2" * 64, inputs=sources,
        facts=facts, cost={"seconds": 12.5, "device": "cpu", "tokens_out": 1234}, described=described, content="3" * 64,
    )  # fmt: skip
    record |= {"release": "v1.0.0", "created": "2026-04-10T12:00:00Z"}
    return dict(json.loads(json.dumps(record, sort_keys=True)))


def records(plan: Recipe, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(card, record) for every artifact of the plan that has a card of ours."""
    answered = {"rows": 395, "left_out": 5, "accuracy": 0.7, "cut": 2, "statuses": {"correct": 280, "wrong": 120}}
    facts: dict[str, dict[str, Any]] = {
        "personas": {"train": 25, "eval": 16},
        "base": {"parameters": 560_000, "loss": 0.245, "methods": {"steps": {"share": 0.5, "accuracy": 0.9}}},
        "teachers": {"rows": 790} | dict.fromkeys(("plain", "persona"), answered),
        "rewrites": {"rows": 399, "problems": 400, "rejected": {"wrong": 5}, "left_out": {"wrong": 1}}
        | {"prompts": prompts.templates("rewrite"), "statuses": {"correct": 399}, "personas": {"chemist": 399}},
        "mixtures": {"rows": 400, "problems": 400, "personas": {"chemist": 210, "economist": 190}, "overlap": SHARED},
        "sft": {"steps": 38, "loss_last": 0.4, "mixture": {"rows": 395, "sources": {"targets": f"datasets/o/t@{SHA}"}}},
        "grpo": {"steps": 50, "reward_first": 0.66, "reward_last": 0.91}
        | {"by_persona": {"chef": {"accuracy": 0.5, "truncated": 0.0}, "poet": {"truncated": 1.0}}},
    }
    runs = [("base", 0), ("rlvr", 0), ("permix-rlvr", 0)]
    inputs = inputs_of_tables(folder, runs, problems=6, toy=plan.base == "toy")
    summary = json.loads((inputs["rlvr-seed0"] / "summary.json").read_text())
    facts["sweep"] = {"summary": summary}
    first = [row for row in read_sweeps.cases(inputs["cases"]) if row["rule"] == "first"]
    facts["cases"] = {"rows": 36, "cases": 12, "first": first}
    config = tables.Config(
        base_slug=plan.base_slug, runs=tuple(runs), benchmarks=BENCHMARKS, personas=plan.personas_repo,
        toy=plan.base == "toy",
    )  # fmt: skip
    with without_drawing():
        facts["tables"] = tables.run(config, inputs, folder / "out", context=StageContext(config))  # type: ignore[arg-type]
    facts |= fidelity_records.facts()
    plan = dataclasses.replace(plan, tables={**plan.tables, **fidelity_records.TABLES})
    for stage in stages.NAMES:
        page = stages.get(stage)
        taught = ("permix-sft-styled", "seqkd-toy" if plan.base == "toy" else "seqkd-gemma3-27b")
        learned = stage in ("teachers", "rewrites", "mixtures", "sft")
        widened = dataclasses.replace(plan, variants=plan.variants + taught) if learned else plan
        for config in page.configs(widened):
            if page.card:
                yield page.card, record(stage, config, facts[stage])
    for kind in ("merged", "q8_0"):
        named = {"adapter": f"{plan.org}/{plan.base_slug}-rlvr", "base": plan.base_repo, "variant": "rlvr"}
        exported = export.Config(org=plan.org, format=kind, trained_in_4bit=True, **named)
        facts = {"dtype": "bfloat16", "largest_logit_change_by_adapter": 0.5}
        yield export.STAGE.card, record("export", exported, facts)
