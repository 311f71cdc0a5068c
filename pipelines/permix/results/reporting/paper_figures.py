"""The paper's figures from our sweeps, each as PNG, SVG and the numbers in it as CSV.

Drawn on the light sheet of `figures`, so they are readable on light and on dark pages.
"""

import csv
import io
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
from permix.prompting import persona
from permix.results.reporting.figures import FAINT, GRID, STYLE, TOY, Look, finish, looks

Line = Mapping[str, Any]
FIDELITY = {
    "persona_consistency": "PersonaGym consistency",
    "voice": "voice",
    "recovery": "recovery of the persona",
}
"""Measures of fidelity, the paper's own first, and their names."""
PHASE = Path(__file__).parents[2] / "toy" / "phase.csv"
"""The phase diagram's numbers as `permix phase` measured them: five toy bases, three seeds of each training."""
METHODS = {"steps": "#1c6fb8", "skim": "#8653ae", "direct": "#b4520a", "ramble": "#8a6508", "other": "#667180"}


def lottery(people: Sequence[Line], stem: Path, *, toy: bool) -> None:
    """Figure 1: accuracy to expect from the best of k personas drawn from the pool, one line per variant."""
    controls = {c.key for c in persona.CONTROLS}
    data = []
    for benchmark in _unique(people, "benchmark"):
        for name in _unique(people, "variant"):
            rows = [
                r
                for r in people
                if (r["benchmark"], r["variant"]) == (benchmark, name) and r["persona"] not in controls
            ]
            found: dict[str, list[float]] = {}
            for row in rows:
                found.setdefault(row["persona"], []).append(row["accuracy"])
            accuracies = [math.fsum(v) / len(v) for v in found.values()]
            data += [
                {"benchmark": benchmark, "variant": name, "k": k, "accuracy": best_of(accuracies, k)}
                for k in range(1, len(accuracies) + 1)
            ]
    write(data, stem)
    with matplotlib.rc_context(STYLE):
        shown = looks(_unique(data, "variant"))
        figure, grid = panels(_unique(data, "benchmark"))
        for axes, benchmark in grid:
            for name, look in shown.items():
                points = [(r["k"], r["accuracy"]) for r in data if (r["benchmark"], r["variant"]) == (benchmark, name)]
                axes.plot(*zip(*points, strict=True), color=look.colour, marker=look.marker, ms=3.5, lw=1.6)
            frame(axes, f"{benchmark}: accuracy")
            axes.set_xlabel("personas tried")
        note = "Chosen and measured on the same answers: an upper bound." + (f" {TOY}" if toy else "")
        finish(figure, stem, legend(shown), "The persona lottery: best of k personas", note)


def best_of(accuracies: Sequence[float], k: int) -> float:
    """Expected highest of k accuracies drawn from these without replacement."""
    ordered, ways = sorted(accuracies), math.comb(len(accuracies), k)
    return math.fsum(a * math.comb(i, k - 1) for i, a in enumerate(ordered)) / ways


def tradeoff(lines: Sequence[Line], stem: Path, *, toy: bool) -> None:
    """Robustness against fidelity: PSS and the first of FIDELITY that was measured, with both intervals.

    Nothing where no variant has both.
    """
    measured = [name for name in FIDELITY if any(_known(line, "pss", name) for line in lines)]
    if not measured:
        return
    measure = measured[0]
    ends = [f"{name}{end}" for name in ("pss", measure) for end in ("", "_low", "_high")]
    data = [{k: line[k] for k in ("benchmark", "variant", *ends)} for line in lines if _known(line, "pss", measure)]
    write(data, stem)
    shown = looks(_unique(data, "variant"))
    with matplotlib.rc_context(STYLE):
        figure, grid = panels(_unique(data, "benchmark"))
        for axes, benchmark in grid:
            for row in (r for r in data if r["benchmark"] == benchmark):
                look = shown[row["variant"]]
                if _known(row, "pss_low", "pss_high"):
                    axes.plot([row["pss_low"], row["pss_high"]], [row[measure]] * 2, color=look.colour, lw=1.2)
                if _known(row, f"{measure}_low", f"{measure}_high"):
                    ends = [row[f"{measure}_low"], row[f"{measure}_high"]]
                    axes.plot([row["pss"]] * 2, ends, color=look.colour, lw=1.2)
                axes.plot(row["pss"], row[measure], look.marker, color=look.colour, ms=8)
            frame(axes, f"{benchmark}: {FIDELITY[measure]} (up) against PSS (right)")
            axes.set_xlim(-0.02, 1.02)
        note = "Up and to the right is better; lines are 95 % intervals." + (f" {TOY}" if toy else "")
        finish(figure, stem, legend(shown, lines=False), "Robustness and fidelity", note)


def styles(methods: Mapping[str, Mapping[str, Mapping[str, float]]], benchmark: str, stem: Path) -> None:
    """Figure 3: the share of each method in the toy world's answers, {title: {persona: {method: share}}}."""
    first, controls = next(iter(methods.values())), [c.key for c in persona.CONTROLS]
    people = sorted(first, key=lambda who: (who in controls, -first[who].get("steps", 0.0), who))
    data: list[dict[str, Any]] = [
        {"of": title, "persona": who, **{method: by[who].get(method, 0.0) for method in METHODS}}
        for title, by in methods.items()
        for who in people
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
            frame(axes, title)
            axes.set_xlim(0, 1)
            axes.set_ylim(-0.6, len(people) - 0.4)
        handles: list[Any] = [Patch(color=tint, label=method) for method, tint in METHODS.items()]
        finish(figure, stem, handles, f"Which method answers come by ({benchmark})", TOY)


def phase(rows: Sequence[Line], stem: Path) -> None:
    """PSS, PerMix-RLVR's lead and voice against the share of weak styles in the toy base's default, with intervals."""
    write(rows, stem)
    benchmark = rows[0]["benchmark"]
    titles = {"pss": "PSS", "lead": "PerMix-RLVR's lead in PSS over RLVR", "voice": "voice: in character"}
    with matplotlib.rc_context(STYLE):
        shown = looks(_unique(rows, "variant"))
        figure, grid = panels([name for name in titles if any(_known(row, name) for row in rows)])
        for axes, measure in grid:
            least = -1.0 if measure == "lead" else 0.0
            for name, look in shown.items():
                line = [r for r in rows if (r["benchmark"], r["variant"]) == (benchmark, name) and _known(r, measure)]
                values = [row[measure] for row in line]
                axes.plot([row["share"] for row in line], values, color=look.colour, marker=look.marker, ms=5)
                for row in (r for r in line if _known(r, f"{measure}_low", f"{measure}_high")):
                    ends = [max(least, row[f"{measure}_low"]), min(1.0, row[f"{measure}_high"])]
                    axes.plot([row["share"]] * 2, ends, color=look.colour, lw=1.1)
            frame(axes, f"{benchmark}: {titles[measure]}" if measure == "pss" else titles[measure])
            axes.set_xlabel("share of weak styles without a persona")
            if measure == "lead":
                axes.axhline(0, color=FAINT, lw=0.9)
            else:
                axes.set_ylim(-0.02, 1.02)
        note = "The share is a design choice of the toy world: the size of every effect follows from it."
        finish(figure, stem, legend(shown), "How the effects depend on the world", note)


def recorded_phase() -> list[dict[str, Any]]:
    """The rows of PHASE, as `phase` takes them."""
    with PHASE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("benchmark", "variant")
    return [{k: v if k in names else float(v) if v else None for k, v in row.items()} for row in rows]


def panels(
    names: Sequence[str], *, across: int = 3, size: tuple[float, float] = (4.4, 2.7), **shared: Any
) -> tuple[Figure, list[tuple[Axes, str]]]:
    """Panels of `size` inches, one for each name, at most `across` in a row so that they stay readable on a page."""
    columns, (width, height) = min(across, len(names)), size
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(1.2 + width * columns, 1.5 + height * rows))
    grid = figure.subplots(rows, columns, squeeze=False, **shared).ravel()
    for axes in grid[len(names) :]:
        axes.remove()
    return figure, list(zip(grid, names, strict=False))


def frame(axes: Axes, title: str) -> None:
    """A title and a grid, no box."""
    axes.set_title(title, pad=7)
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def legend(shown: Mapping[str, Look], *, lines: bool = True) -> list[Line2D]:
    """A handle for each variant, with its marker, on a line where the figure has lines."""
    style = "-" if lines else ""
    return [
        Line2D([], [], ls=style, marker=look.marker, color=look.colour, ms=5, label=variants.get(name).title)
        for name, look in shown.items()
    ]


def _known(line: Line, *names: str) -> bool:
    return all(line.get(name) is not None for name in names)


def _unique(rows: Sequence[Line], key: str) -> list[Any]:
    return list(dict.fromkeys(row[key] for row in rows))


def write(rows: Sequence[Line], stem: Path) -> None:
    """The numbers of a figure, as `<stem>.csv`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_bytes(stem.with_suffix(".csv"), text.getvalue().encode())
