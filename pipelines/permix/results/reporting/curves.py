"""The log of a training as a picture for the card and as text for a terminal."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Log = Sequence[Mapping[str, Any]]
PANELS: dict[str, dict[str, dict[str, str]]] = {
    "grpo": {
        "reward": {"reward": "mean reward", "reward_std": "its standard deviation"},
        "share": {
            "frac_reward_zero_std": "groups without signal",
            "completions/clipped_ratio": "truncated completions",
        },
        "tokens": {"completions/mean_length": "completion length"},
        "KL to the base": {"kl": "KL"},
    },
    "sft": {"loss": {"loss": "loss on the targets"}, "share": {"mean_token_accuracy": "target tokens predicted"}},
}
"""{trainer: {panel: {key of the log: label}}}; keys that a log lacks are omitted."""
BLOCKS = "▁▂▃▄▅▆▇█"


def training(log: Log, stem: Path) -> None:
    """Write `<stem>.png` and `<stem>.svg`: one panel per quantity over the steps."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from permix.results.reporting.figures import COLOURS, FAINT, MIXED, STYLE, finish, open_frame

    colours = [COLOURS["verifier"], MIXED["verifier"], COLOURS["teacher"], MIXED["gold"], COLOURS["gold"], FAINT]
    panels = _panels(log)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.1 * len(panels) + 0.6, 3.0))
        (grid,) = figure.subplots(1, len(panels), squeeze=False)
        handles: list[Line2D] = []
        for axes, (title, lines) in zip(grid, panels.items(), strict=True):
            for key, label in lines.items():
                points = [(entry["step"], entry[key]) for entry in log if entry.get(key) is not None]
                colour = colours[len(handles) % len(colours)]
                marker = "o" if len(points) == 1 else ""
                axes.plot(*zip(*points, strict=True), color=colour, lw=1.6, marker=marker)
                handles.append(Line2D([], [], color=colour, lw=1.6, label=label))
            open_frame(axes, title, "y")
        finish(figure, stem, handles, "Training", "x: optimizer steps")


def as_text(log: Log, width: int = 60) -> str:
    """Return one line per quantity: its name, first value, course, last value."""
    lines = []
    for keys in _panels(log).values():
        for key, label in keys.items():
            values = [float(entry[key]) for entry in log if entry.get(key) is not None]
            lines.append(f"  {label:28} {values[0]:9.4g} {_spark(values, width)} {values[-1]:.4g}")
    return "\n".join(lines)


def _panels(log: Log) -> dict[str, dict[str, str]]:
    logged = {key for entry in log for key, value in entry.items() if value is not None}
    panels = PANELS["grpo" if "reward" in logged else "sft"]
    lines = {title: {key: label for key, label in keys.items() if key in logged} for title, keys in panels.items()}
    return {title: keys for title, keys in lines.items() if keys}


def _spark(values: Sequence[float], width: int) -> str:
    """Return the values as at most `width` blocks, each the mean of its part."""
    count = min(width, len(values))
    edges = [number * len(values) // count for number in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    return "".join(BLOCKS[int((mean - low) / span * (len(BLOCKS) - 1)) if span else 0] for mean in means)
