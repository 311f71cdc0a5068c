"""Learning dynamics: what the logs and probes of GRPO trainings show, step by step, as a figure with its numbers."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Line = Mapping[str, Any]
PANELS = {
    "reward": "mean reward",
    "lowest": "accuracy: lowest and highest training persona",
    "worst": "probe: worst persona",
    "pss": "probe: PSS",
    "fidelity": "probe: fidelity",
}
"""What a panel shows -> its title."""
BESIDE = {"lowest": "highest", "pss": "pss_null"}
"""What is drawn into the same panel, with dashes."""
PROBED = ("worst", "pss", "pss_null", "fidelity")
NOTE = "Of the completions sampled in training."
PROBE_NOTE = (
    "Probes: a few training problems under every persona of the evaluation pool; dashes: PSS if personas had no effect."
)


@dataclass(frozen=True)
class Course:
    """How one training went: its log, and its probes (permix.training.probe), if there were any."""

    log: Sequence[Line] = ()
    probes: Sequence[Line] = field(default=())


def read(adapter: Path) -> Course:
    """The course of the training of an adapter, from its folder."""
    found = [_lines(adapter / name) for name in ("log.jsonl", "probe.jsonl")]
    return Course([row for row in found[0] if row.get("reward") is not None], found[1])


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def draw(courses: Mapping[str, Course], stem: Path) -> None:
    """Draw every training with a reward, by "<variant>-seed<n>"; nothing where there is none.

    A step meets few personas, so theirs are means over fifths of the training: the lowest and the highest persona.
    """
    import matplotlib

    from permix.results.reporting import figures, paper_figures

    rewarded = {run: course for run, course in courses.items() if course.log}
    data = [{"run": run, **row} for run, course in rewarded.items() for row in _rows(course)]
    if not data:
        return
    paper_figures.write(data, stem)
    looks = figures.looks([_variant(run) for run in rewarded])
    with matplotlib.rc_context(figures.STYLE):
        shown = [panel for panel in PANELS if any(row["what"] == panel for row in data)]
        figure, grid = paper_figures.panels(shown)
        for axes, panel in grid:
            for what, line in ((panel, "-"), (BESIDE.get(panel), "--")):
                for run in rewarded:
                    points = [(row["step"], row["value"]) for row in data if (row["run"], row["what"]) == (run, what)]
                    axes.plot(*zip(*points, strict=True), **_style(points), color=looks[_variant(run)].colour, ls=line)
            paper_figures.frame(axes, PANELS[panel])
            axes.set_ylim(-0.02, 1.02)
            axes.set_xlabel("optimizer step")
        note = f"{NOTE} {PROBE_NOTE}" if "worst" in shown else NOTE
        handles = paper_figures.legend(looks)
        figures.finish(figure, stem, handles, "Learning dynamics", note)


def _rows(course: Course) -> Iterator[dict[str, Any]]:
    for row in course.log:
        yield {"what": "reward", "step": row["step"], "value": row["reward"]}
    yield from _by_fifths(course.log)
    for row in course.probes:
        for what in PROBED:
            if row.get(what) is not None:
                yield {"what": what, "step": row["step"], "value": row[what]}


def _by_fifths(log: Sequence[Line]) -> Iterator[dict[str, Any]]:
    """The lowest and the highest persona's accuracy in each fifth of a log; nothing where it met one persona only."""
    for part in range(5):
        found: dict[str, list[float]] = {}
        steps = log[part * len(log) // 5 : (part + 1) * len(log) // 5]
        for row in steps:
            for key, value in row.items():
                if key.startswith("persona/") and key.endswith("/accuracy") and value is not None:
                    found.setdefault(key, []).append(value)
        means = [math.fsum(v) / len(v) for v in found.values()]
        if len(means) > 1:
            for what, value in (("lowest", min(means)), ("highest", max(means))):
                yield {"what": what, "step": steps[-1]["step"], "value": value}


def _style(points: Sequence[Any]) -> dict[str, Any]:
    return {"lw": 1.5, "marker": "o" if len(points) < 2 else "", "ms": 4}


def _variant(run: str) -> str:
    return run.rpartition("-seed")[0]
