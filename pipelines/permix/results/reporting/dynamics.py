"""Learning dynamics: the logs and probes of GRPO trainings over the steps, as a figure with its numbers."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
"""{measure of a panel: title}."""
DASHED = {"lowest": "highest", "pss": "pss_null"}
"""{measure of a panel: the measure drawn into it with dashes}."""
PROBED = ("worst", "pss", "pss_null", "fidelity")
NOTE = "Reward and accuracy: of the completions sampled in training."
PROBE_NOTE = "Probes: a few training problems under every evaluation persona. Dashes: PSS if personas had no effect."


@dataclass(frozen=True)
class Course:
    """The log of one training, and its probes (permix.training.probe) if it had any."""

    log: Sequence[Line] = ()
    probes: Sequence[Line] = ()


def read(adapter: Path) -> Course:
    """Read the course of an adapter's training from its folder."""
    log, probes = (_lines(adapter / name) for name in ("log.jsonl", "probe.jsonl"))
    return Course([row for row in log if row.get("reward") is not None], probes)


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def draw(courses: Mapping[str, Course], stem: Path) -> None:
    """Draw courses {"<variant>-seed<n>": course} that have rewards, with the lowest and highest persona by fifths."""
    import matplotlib

    from permix.results.reporting import figures, paper_figures

    rewarded = {run: course for run, course in courses.items() if course.log}
    data = [{"run": run, **row} for run, course in rewarded.items() for row in _rows(course)]
    if not data:
        return
    paper_figures.write(data, stem)
    looks = figures.looks([_variant(run) for run in rewarded])
    with matplotlib.rc_context(figures.STYLE):
        panels = [panel for panel in PANELS if any(row["what"] == panel for row in data)]
        figure, grid = paper_figures.panels(panels)
        for axes, panel in grid:
            for name, line in ((panel, "-"), (DASHED.get(panel), "--")):
                for run in rewarded:
                    points = [(row["step"], row["value"]) for row in data if (row["run"], row["what"]) == (run, name)]
                    colour, marker = looks[_variant(run)].colour, "o" if len(points) < 2 else ""
                    axes.plot(*zip(*points, strict=True), color=colour, marker=marker, lw=1.5, ms=4, ls=line)
            figures.open_frame(axes, PANELS[panel])
            axes.set_ylim(-0.02, 1.02)
            axes.set_xlabel("optimizer step")
        note = f"{NOTE} {PROBE_NOTE}" if "worst" in panels else NOTE
        figures.finish(figure, stem, paper_figures.legend(looks), "Learning dynamics", note)


def _rows(course: Course) -> Iterator[dict[str, Any]]:
    for row in course.log:
        yield {"what": "reward", "step": row["step"], "value": row["reward"]}
    yield from _by_fifths(course.log)
    for row in course.probes:
        for name in PROBED:
            if row.get(name) is not None:
                yield {"what": name, "step": row["step"], "value": row[name]}


def _by_fifths(log: Sequence[Line]) -> Iterator[dict[str, Any]]:
    """Yield the lowest and the highest persona's accuracy in each fifth of a log that has several personas."""
    for part in range(5):
        accuracies: dict[str, list[float]] = {}
        steps = log[part * len(log) // 5 : (part + 1) * len(log) // 5]
        for row in steps:
            for key, value in row.items():
                if key.startswith("persona/") and key.endswith("/accuracy") and value is not None:
                    accuracies.setdefault(key, []).append(value)
        means = [math.fsum(values) / len(values) for values in accuracies.values()]
        if len(means) > 1:
            for name, value in (("lowest", min(means)), ("highest", max(means))):
                yield {"what": name, "step": steps[-1]["step"], "value": value}


def _variant(run: str) -> str:
    return run.rpartition("-seed")[0]
