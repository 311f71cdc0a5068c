"""The paper's figures from our sweeps, each as PNG and SVG on the sheet of `figures`, with its numbers as CSV."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from permix import files
from permix.paper import variants
from permix.prompting.persona import CONTROL_KEYS
from permix.results import formatting
from permix.results.measures.fidelity import unique
from permix.results.reporting.figures import FAINT, STYLE, Look, accuracies_by_persona, finish, looks, open_frame
from permix.results.reporting.tabular import TOY

Line = Mapping[str, Any]
FIDELITY = {"persona_consistency": "PersonaGym consistency", "voice": "voice", "recovery": "recovery of the persona"}
"""Measures of fidelity with their names, the paper's own first."""
PHASE = Path(__file__).parents[2] / "toy" / "phase.csv"
"""The numbers of the phase diagram, measured by `permix phase`: five toy bases, three seeds of each training."""
METHODS = {"steps": "#1c6fb8", "skim": "#8653ae", "direct": "#b4520a", "ramble": "#8a6508", "other": "#667180"}


def lottery(people: Sequence[Line], stem: Path, *, toy: bool) -> None:
    """Draw Figure 1: expected accuracy of the best of k personas drawn from the pool, one line per variant."""
    data = []
    for benchmark in unique(people, "benchmark"):
        for name, by_persona in accuracies_by_persona(people, benchmark).items():
            accuracies = [accuracy for key, accuracy in by_persona.items() if key not in CONTROL_KEYS]
            data += [
                {"benchmark": benchmark, "variant": name, "k": k, "accuracy": best_of(accuracies, k)}
                for k in range(1, len(accuracies) + 1)
            ]
    write(data, stem)
    with matplotlib.rc_context(STYLE):
        variant_looks = looks(unique(data, "variant"))
        figure, grid = panels(unique(data, "benchmark"))
        for axes, benchmark in grid:
            for name, look in variant_looks.items():
                points = [(r["k"], r["accuracy"]) for r in data if (r["benchmark"], r["variant"]) == (benchmark, name)]
                axes.plot(*zip(*points, strict=True), color=look.colour, marker=look.marker, ms=3.5, lw=1.6)
            open_frame(axes, f"{benchmark}: accuracy")
            axes.set_xlabel("personas tried")
        note = "Upper bound: the best persona is chosen on the answers it is measured on." + (f" {TOY}" if toy else "")
        finish(figure, stem, legend(variant_looks), "The persona lottery: best of k personas", note)


def best_of(accuracies: Sequence[float], k: int) -> float:
    """Return the expected highest of k accuracies drawn without replacement."""
    ordered, ways = sorted(accuracies), math.comb(len(accuracies), k)
    return math.fsum(a * math.comb(i, k - 1) for i, a in enumerate(ordered)) / ways


def tradeoff(lines: Sequence[Line], stem: Path, *, toy: bool) -> None:
    """Draw PSS against the first of FIDELITY that was measured, with both intervals; nothing if no variant has both."""
    measured = [name for name in FIDELITY if any(_known(line, "pss", name) for line in lines)]
    if not measured:
        return
    measure = measured[0]
    ends = [f"{name}{end}" for name in ("pss", measure) for end in ("", "_low", "_high")]
    data = [{k: line[k] for k in ("benchmark", "variant", *ends)} for line in lines if _known(line, "pss", measure)]
    write(data, stem)
    variant_looks = looks(unique(data, "variant"))
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(unique(data, "benchmark"))
        for axes, benchmark in grid:
            for row in (r for r in data if r["benchmark"] == benchmark):
                look = variant_looks[row["variant"]]
                across, up = ([row[f"{name}_{end}"] for end in ("low", "high")] for name in ("pss", measure))
                if None not in across:
                    axes.plot(across, [row[measure]] * 2, color=look.colour, lw=1.2)
                if None not in up:
                    axes.plot([row["pss"]] * 2, up, color=look.colour, lw=1.2)
                axes.plot(row["pss"], row[measure], look.marker, color=look.colour, ms=8)
            open_frame(axes, f"{benchmark}: {FIDELITY[measure]} (up) against PSS (right)")
            axes.set_xlim(-0.02, 1.02)
        note = "Up and to the right is better. Lines: 95 % intervals." + (f" {TOY}" if toy else "")
        finish(figure, stem, legend(variant_looks, lines=False), "Robustness and fidelity", note)


def styles(methods: Mapping[str, Mapping[str, Mapping[str, float]]], benchmark: str, stem: Path) -> None:
    """Draw Figure 3: the share of each method in the toy world's answers, {title: {persona: {method: share}}}."""
    first = next(iter(methods.values()))
    people = sorted(first, key=lambda key: (key in CONTROL_KEYS, -first[key].get("steps", 0.0), key))
    data: list[dict[str, Any]] = [
        {"of": title, "persona": key, **{method: by_persona[key].get(method, 0.0) for method in METHODS}}
        for title, by_persona in methods.items()
        for key in people
    ]
    write(data, stem)
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(list(methods), across=5, size=(2.6, 0.25 * len(people) + 0.6), sharey=True)
        for axes, title in grid:
            for height, row in enumerate(reversed([r for r in data if r["of"] == title])):
                left = 0.0
                for method, tint in METHODS.items():
                    axes.barh(height, row[method], left=left, color=tint, height=0.78)
                    left += row[method]
            axes.set_yticks(range(len(people)), list(reversed(people)))
            open_frame(axes, title)
            axes.set_xlim(0, 1)
            axes.set_ylim(-0.6, len(people) - 0.4)
        handles: list[Any] = [Patch(color=tint, label=method) for method, tint in METHODS.items()]
        finish(figure, stem, handles, f"The method of the answers ({benchmark})", TOY)


def phase(rows: Sequence[Line], stem: Path) -> None:
    """Draw PSS, PerMix-RLVR's lead and voice against the share of weak styles of the toy base without a persona."""
    write(rows, stem)
    benchmark = rows[0]["benchmark"]
    titles = {"pss": "PSS", "lead": "PerMix-RLVR's lead in PSS over RLVR", "voice": "voice: in character"}
    with matplotlib.rc_context(STYLE):
        variant_looks = looks(unique(rows, "variant"))
        figure, grid = panels([name for name in titles if any(_known(row, name) for row in rows)])
        for axes, measure in grid:
            least = -1.0 if measure == "lead" else 0.0
            for name, look in variant_looks.items():
                line = [r for r in rows if (r["benchmark"], r["variant"]) == (benchmark, name) and _known(r, measure)]
                values = [row[measure] for row in line]
                axes.plot([row["share"] for row in line], values, color=look.colour, marker=look.marker, ms=5)
                for row in (r for r in line if _known(r, f"{measure}_low", f"{measure}_high")):
                    ends = [max(least, row[f"{measure}_low"]), min(1.0, row[f"{measure}_high"])]
                    axes.plot([row["share"]] * 2, ends, color=look.colour, lw=1.1)
            open_frame(axes, f"{benchmark}: {titles[measure]}" if measure == "pss" else titles[measure])
            axes.set_xlabel("share of weak styles without a persona")
            if measure == "lead":
                axes.axhline(0, color=FAINT, lw=0.9)
            else:
                axes.set_ylim(-0.02, 1.02)
        note = "The share is a design choice of the toy world and sets the size of every effect."
        finish(figure, stem, legend(variant_looks), "How the effects depend on the world", note)


def recorded_phase() -> list[dict[str, Any]]:
    """Read the rows of PHASE for `phase`."""
    with PHASE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("benchmark", "variant")
    return [{k: v if k in names else float(v) if v else None for k, v in row.items()} for row in rows]


def panels(
    names: Sequence[str], *, across: int = 3, size: tuple[float, float] = (4.4, 2.7), **shared: Any
) -> tuple[Figure, list[tuple[Axes, str]]]:
    """Return a figure with a panel of `size` inches per name, at most `across` in a row."""
    columns, (width, height) = min(across, len(names)), size
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(1.2 + width * columns, 1.5 + height * rows))
    grid = figure.subplots(rows, columns, squeeze=False, **shared).ravel()
    for axes in grid[len(names) :]:
        axes.remove()
    return figure, list(zip(grid, names, strict=False))


def legend(variant_looks: Mapping[str, Look], *, lines: bool = True) -> list[Line2D]:
    """Return a handle per variant: its marker, on a line if the figure has lines."""
    style = "-" if lines else ""
    return [
        Line2D([], [], ls=style, marker=look.marker, color=look.colour, ms=5, label=variants.get(name).title)
        for name, look in variant_looks.items()
    ]


def _known(line: Line, *names: str) -> bool:
    return all(line.get(name) is not None for name in names)


def write(rows: Sequence[Line], stem: Path) -> None:
    """Write the numbers of a figure as `<stem>.csv`."""
    files.write_bytes(stem.with_suffix(".csv"), formatting.as_csv(rows).encode())
