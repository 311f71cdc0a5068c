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

from permix import files, persona, variant
from permix.results.figures import GRID, STYLE, TOY, colour, finish, marker

Line = Mapping[str, Any]
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
    _write(data, stem)
    with matplotlib.rc_context(STYLE):
        figure, panels = _panels(_unique(data, "benchmark"))
        for axes, benchmark in panels:
            for name in _unique(data, "variant"):
                points = [(r["k"], r["accuracy"]) for r in data if (r["benchmark"], r["variant"]) == (benchmark, name)]
                axes.plot(*zip(*points, strict=True), color=colour(name), marker=marker(name), ms=3.5, lw=1.6)
            _frame(axes, f"{benchmark}: accuracy")
            axes.set_xlabel("personas tried")
        note = "Chosen and measured on the same answers: an upper bound." + (f" {TOY}" if toy else "")
        finish(figure, stem, _legend(_unique(data, "variant")), "The persona lottery: best of k personas", note)


def best_of(accuracies: Sequence[float], k: int) -> float:
    """Expected highest of k accuracies drawn from these without replacement."""
    ordered, ways = sorted(accuracies), math.comb(len(accuracies), k)
    return math.fsum(a * math.comb(i, k - 1) for i, a in enumerate(ordered)) / ways


def tradeoff(lines: Sequence[Line], stem: Path, *, toy: bool) -> None:
    """Robustness against fidelity: PSS and voice of every variant, with both intervals."""
    ends = [f"{name}{end}" for name in ("pss", "voice") for end in ("", "_low", "_high")]
    data = [{k: line[k] for k in ("benchmark", "variant", *ends)} for line in lines if _known(line, "pss", "voice")]
    _write(data, stem)
    with matplotlib.rc_context(STYLE):
        figure, panels = _panels(_unique(data, "benchmark"))
        for axes, benchmark in panels:
            for row in (r for r in data if r["benchmark"] == benchmark):
                tint = colour(row["variant"])
                if _known(row, "pss_low", "pss_high"):
                    axes.plot([row["pss_low"], row["pss_high"]], [row["voice"]] * 2, color=tint, lw=1.2)
                if _known(row, "voice_low", "voice_high"):
                    axes.plot([row["pss"]] * 2, [row["voice_low"], row["voice_high"]], color=tint, lw=1.2)
                axes.plot(row["pss"], row["voice"], marker(row["variant"]), color=tint, ms=8)
            _frame(axes, f"{benchmark}: voice (up) against PSS (right)")
            axes.set_xlim(-0.02, 1.02)
        note = "Up and to the right is better; lines are 95 % intervals." + (f" {TOY}" if toy else "")
        finish(figure, stem, _legend(_unique(data, "variant"), lines=False), "Robustness and fidelity", note)


def styles(methods: Mapping[str, Mapping[str, Mapping[str, float]]], benchmark: str, stem: Path) -> None:
    """Figure 3: the share of each method in the toy world's answers, {title: {persona: {method: share}}}."""
    first, controls = next(iter(methods.values())), [c.key for c in persona.CONTROLS]
    people = sorted(first, key=lambda who: (who in controls, -first[who].get("steps", 0.0), who))
    data: list[dict[str, Any]] = [
        {"of": title, "persona": who, **{method: by[who].get(method, 0.0) for method in METHODS}}
        for title, by in methods.items()
        for who in people
    ]
    _write(data, stem)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.0 + 2.6 * len(methods), 0.25 * len(people) + 1.7))
        (grid,) = figure.subplots(1, len(methods), squeeze=False, sharey=True)
        for axes, title in zip(grid, methods, strict=True):
            for height, row in enumerate(reversed([r for r in data if r["of"] == title])):
                left = 0.0
                for method, tint in METHODS.items():
                    axes.barh(height, row[method], left=left, color=tint, height=0.78)
                    left += row[method]
            axes.set_yticks(range(len(people)), list(reversed(people)))
            _frame(axes, title)
            axes.set_xlim(0, 1)
            axes.set_ylim(-0.6, len(people) - 0.4)
        handles: list[Any] = [Patch(color=tint, label=method) for method, tint in METHODS.items()]
        finish(figure, stem, handles, f"Which method answers come by ({benchmark})", TOY)


def dynamics(logs: Mapping[str, Sequence[Line]], stem: Path) -> None:
    """Learning dynamics of every GRPO run, {"<variant>-seed<n>": its log}: reward, and training personas' accuracy.

    A step meets few personas, so theirs are means over fifths of the training: the lowest and the highest persona.
    """
    shown = {run: [row for row in log if row.get("reward") is not None] for run, log in logs.items()}
    data: list[dict[str, Any]] = []
    for run, log in shown.items():
        data += [{"run": run, "what": "reward", "step": row["step"], "value": row["reward"]} for row in log]
        data += [{"run": run, **row} for row in _by_fifths(log)]
    _write(data, stem)
    names = list(dict.fromkeys(run.rpartition("-seed")[0] for run in shown))
    titles = {"reward": "mean reward", "lowest": "accuracy: lowest and highest training persona"}
    panels = [what for what in titles if any(row["what"] == what for row in data)]
    with matplotlib.rc_context(STYLE):
        figure, grid = _panels(panels)
        for axes, panel in grid:
            for what in ("reward",) if panel == "reward" else ("lowest", "highest"):
                for run in shown:
                    points = [(row["step"], row["value"]) for row in data if (row["run"], row["what"]) == (run, what)]
                    if points:
                        line = "--" if what == "highest" else "-"
                        axes.plot(*zip(*points, strict=True), color=colour(run.rpartition("-seed")[0]), ls=line, lw=1.5)
            _frame(axes, titles[panel])
            axes.set_xlabel("optimizer step")
        finish(figure, stem, _legend(names), "Learning dynamics", "Of the completions sampled in training.")


def phase(rows: Sequence[Line], stem: Path) -> None:
    """PSS and voice of each variant against the share of weak styles in the toy base's default, with intervals."""
    _write(rows, stem)
    benchmark = rows[0]["benchmark"]
    titles = {"pss": "PSS", "voice": "voice: in character"}
    with matplotlib.rc_context(STYLE):
        figure, panels = _panels([name for name in titles if any(row[name] is not None for row in rows)])
        for axes, measure in panels:
            for name in _unique(rows, "variant"):
                line = [r for r in rows if (r["benchmark"], r["variant"]) == (benchmark, name) and _known(r, measure)]
                values = [row[measure] for row in line]
                axes.plot([row["share"] for row in line], values, color=colour(name), marker=marker(name), ms=5)
                for row in (r for r in line if _known(r, f"{measure}_low", f"{measure}_high")):
                    ends = [max(0.0, row[f"{measure}_low"]), min(1.0, row[f"{measure}_high"])]
                    axes.plot([row["share"]] * 2, ends, color=colour(name), lw=1.1)
            _frame(axes, f"{benchmark}: {titles[measure]}")
            axes.set_xlabel("share of weak styles without a persona")
            axes.set_ylim(-0.02, 1.02)
        note = "The share is a design choice of the toy world: the size of every effect follows from it."
        finish(figure, stem, _legend(_unique(rows, "variant")), "How the effects depend on the world", note)


def _by_fifths(log: Sequence[Line]) -> list[dict[str, Any]]:
    """The lowest and the highest persona's accuracy in each fifth of a log; nothing where it met one persona only."""
    rows: list[dict[str, Any]] = []
    for part in range(5):
        found: dict[str, list[float]] = {}
        steps = log[part * len(log) // 5 : (part + 1) * len(log) // 5]
        for row in steps:
            for key, value in row.items():
                if key.startswith("persona/") and key.endswith("/accuracy") and value is not None:
                    found.setdefault(key, []).append(value)
        means = [math.fsum(v) / len(v) for v in found.values()]
        if len(means) > 1:
            ends = {"lowest": min(means), "highest": max(means)}
            rows += [{"what": what, "step": steps[-1]["step"], "value": value} for what, value in ends.items()]
    return rows


def _panels(benchmarks: Sequence[str]) -> tuple[Figure, list[tuple[Axes, str]]]:
    figure = Figure(figsize=(1.2 + 4.4 * len(benchmarks), 4.2))
    (grid,) = figure.subplots(1, len(benchmarks), squeeze=False)
    return figure, list(zip(grid, benchmarks, strict=True))


def _frame(axes: Axes, title: str) -> None:
    axes.set_title(title, pad=7)
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _legend(names: Sequence[str], *, lines: bool = True) -> list[Line2D]:
    style = "-" if lines else ""
    return [
        Line2D([], [], ls=style, marker=marker(n), color=colour(n), ms=5, label=variant.get(n).title) for n in names
    ]


def _known(line: Line, *names: str) -> bool:
    return all(line.get(name) is not None for name in names)


def _unique(rows: Sequence[Line], key: str) -> list[Any]:
    return list(dict.fromkeys(row[key] for row in rows))


def _write(rows: Sequence[Line], stem: Path) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_bytes(stem.with_suffix(".csv"), text.getvalue().encode())
