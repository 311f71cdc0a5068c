"""Everything that stage tables shows of the variants, read once from its inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from permix.paper import variants
from permix.parquet import Row
from permix.prompting import persona
from permix.results.measures import sweeps, theory
from permix.results.reporting import dynamics, judged, table_lines
from permix.results.reporting.judged import Paired

Run = tuple[str, int]
"""A variant and a seed; `<variant>-seed<n>` names its inputs."""


@dataclass(frozen=True)
class Comparison:
    """The results of all runs.

    `sweeps` has a row for each run and benchmark, `personas` for each persona of theirs, `judged` for each run's
    PersonaGym scores; `lines` and `judged_lines` have a row for each variant, over its seeds. `paired` tests two rows
    against each other. `methods` are {title: {persona: {method: share}}} of the toy world's answers.
    """

    benchmarks: Sequence[str]
    sweeps: list[Row]
    personas: list[Row]
    lines: list[Row]
    judged: list[Row]
    judged_lines: list[Row]
    paired: Paired
    preference: Mapping[str, Any]
    theory: list[Row]
    methods: dict[str, Any]
    courses: dict[str, dynamics.Course]
    costs: list[Row]
    pools: tuple[list[persona.Persona], list[persona.Persona]]
    cases: list[dict[str, Any]]

    @property
    def tables(self) -> dict[str, list[Row]]:
        """The lines of each benchmark."""
        return {b: [line for line in self.lines if line["benchmark"] == b] for b in self.benchmarks}


def read(
    runs: Sequence[Run], benchmarks: Sequence[str], inputs: Mapping[str, Path], *, beta: float | None, toy: bool
) -> Comparison:
    """Read the inputs of stage tables; BadInput if not comparable. `beta` is GRPO's, None or 0 where unknown."""
    folders = {f"{name}-seed{seed}": inputs[f"{name}-seed{seed}"] for name, seed in runs}
    for benchmark in benchmarks:
        sweeps.refuse_unequal(folders, benchmark)
    rows, personas = table_lines.read(runs, benchmarks, folders)
    scores = {name: inputs[f"personagym/{name}"] for name in folders if f"personagym/{name}" in inputs}
    judged_rows = judged.read(runs, scores) if scores else []
    lines, judged_lines = table_lines.of_variants(rows), judged.of_variants(judged_rows)
    table_lines.add_consistency(lines, judged_lines)
    first_seeds: dict[str, Path] = {}
    for name, seed in runs:
        first_seeds.setdefault(name, folders[f"{name}-seed{seed}"])
    return Comparison(
        benchmarks=benchmarks,
        sweeps=rows,
        personas=personas,
        lines=lines,
        judged=judged_rows,
        judged_lines=judged_lines,
        paired=judged.pairing(scores, sweeps.pairing(folders)),
        preference=judged.summary(inputs["preference"]) if "preference" in inputs else {},
        theory=_theory(first_seeds, benchmarks, beta, toy=toy),
        methods=_methods(first_seeds, benchmarks[0]),
        courses={
            name.removeprefix("adapter/"): dynamics.read(path)
            for name, path in inputs.items()
            if name.startswith("adapter/")
        },
        costs=[_cost(name, seed, inputs) for name, seed in runs],
        pools=(persona.load(inputs["personas"], "train"), persona.load(inputs["personas"], "eval")),
        cases=sweeps.cases(inputs["cases"]) if "cases" in inputs else [],
    )


def _theory(first_seeds: Mapping[str, Path], benchmarks: Sequence[str], beta: float | None, *, toy: bool) -> list[Row]:
    """Test Proposition 1 on every GRPO variant and benchmark; needs the base."""
    if "base" not in first_seeds:
        return []
    columns = ("persona", "problem_id", "score", *(["completion"] if toy else []))
    rows = []
    for benchmark in benchmarks:
        base = sweeps.columns(first_seeds["base"], benchmark, columns)
        for name in (name for name in first_seeds if variants.get(name).trainer == "grpo"):
            trained = sweeps.columns(first_seeds[name], benchmark, columns)
            test = theory.examine(base, trained, beta or None, toy=toy)
            rows.append({"variant": name, "title": variants.get(name).title, "benchmark": benchmark, **test})
    return rows


def _methods(first_seeds: Mapping[str, Path], benchmark: str) -> dict[str, Any]:
    methods = {name: sweeps.summary(folder, name, benchmark)["methods"] for name, folder in first_seeds.items()}
    return {variants.get(name).title: shares for name, shares in methods.items() if shares}


def _cost(name: str, seed: int, inputs: Mapping[str, Path]) -> Row:
    """Return hours and tokens of a run's training and sweep from their run records; times never enter a file."""
    row: Row = {"variant": name, "title": variants.get(name).title, "seed": seed}
    for step, key in (("training", f"adapter/{name}-seed{seed}"), ("sweep", f"{name}-seed{seed}")):
        record = sweeps.record(inputs[key]) if key in inputs else None
        cost = record["cost"] if record else {}
        tokens = [cost[k] for k in ("tokens_trained", "tokens_in", "tokens_out") if cost.get(k)]
        row |= {f"{step}_hours": cost["seconds"] / 3600 if cost else None, f"{step}_tokens": sum(tokens) or None}
    return row
