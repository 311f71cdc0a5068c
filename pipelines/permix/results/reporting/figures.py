"""The figures of the tables as PNG and SVG on a light sheet, for light and dark pages. Equal numbers, equal bytes."""

import io
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch

from permix import files
from permix.paper import variants as variant
from permix.prompting.persona import CONTROL_KEYS
from permix.results.measures.fidelity import unique
from permix.results.reporting.tabular import TOY

Line = Mapping[str, Any]
INK, FAINT, GRID, SHEET = "#1f2733", "#5b6675", "#dfe3e8", "#f7f8fa"
COLOURS = {"none": "#667180", "gold": "#8a6508", "styled": "#8a6508", "teacher": "#8653ae", "verifier": "#1c6fb8"}
MIXED = {"gold": "#b4520a", "styled": "#b4520a", "teacher": "#ad3f8b", "verifier": "#c8384c"}
OTHERS = (
    *("#1c6fb8", "#c8384c", "#2f7d4f", "#8653ae", "#b4520a", "#0b7285"),
    *("#ad3f8b", "#66700f", "#4557b8", "#8a6508", "#3f6f2e", "#6d4c41"),
)
"""Colours of further models, in their order, combined with SHAPES."""
SHAPES = ("s", "^", "D", "v", "P")
MARKERS = {"styled": "^", "llama3.1-70b": "^", "gemma3-27b": "v"}  # where two variants share a colour
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 9.5, "text.color": INK, "xtick.color": FAINT, "ytick.color": INK,
    "axes.labelcolor": FAINT, "axes.edgecolor": GRID, "axes.facecolor": "none",
    "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "svg.hashsalt": "permix", "svg.fonttype": "path", "savefig.dpi": 160,
}  # fmt: skip
_LABELS = {"none": "no system message", "helpful": "helpful assistant"}


@dataclass(frozen=True)
class Look:
    """The colour and the marker of a variant in every figure."""

    colour: str
    marker: str


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Return a look per variant: its own, or for further models the next of OTHERS and SHAPES."""
    variant_looks: dict[str, Look] = {}
    others = map(Look, itertools.cycle(OTHERS), itertools.cycle(SHAPES))
    for name in dict.fromkeys(names):
        row = variant.get(name)
        colour = (MIXED if row.persona else COLOURS)[row.target or "none"]
        own = Look(colour, MARKERS.get(row.teacher or row.target, "o"))
        variant_looks[name] = next(others) if variant.other(name) else own
    return variant_looks


def summary(lines: Sequence[Line], people: Sequence[Line], stem: Path, *, toy: bool, note: str = "") -> None:
    """Draw per benchmark accuracy under every persona, PSS with its noise floor, and voice if it was measured.

    The axis of accuracy is enlarged if all accuracies of a benchmark are close together; its title then says so.
    `lines` and `people` are written by stage tables; `note` is its recipe's. Writes `<stem>.png` and `<stem>.svg`.
    """
    benchmarks, variants = unique(lines, "benchmark"), looks(unique(lines, "variant"))
    has_voice = any(line["voice"] is not None for line in lines)
    widths = [2.3, 1.25, 1.0] if has_voice else [2.3, 1.25]
    notes = "\n".join([*([TOY] if toy else []), *([f"Note: {note}"] if note else [])])
    with matplotlib.rc_context(STYLE):
        rows = 0.54 * len(variants) + 1.0
        figure = Figure(figsize=(10.4, rows * len(benchmarks) + 1.25))
        grid = figure.subplots(len(benchmarks), len(widths), squeeze=False, sharey=True, width_ratios=widths)
        for axes, benchmark in zip(grid, benchmarks, strict=True):
            own = [line for line in lines if line["benchmark"] == benchmark]
            _ranges(axes[0], own, variants, accuracies_by_persona(people, benchmark), benchmark)
            _bars(axes[1], own, variants, "pss", "PSS = worst / best")
            if has_voice:
                _bars(axes[2], own, variants, "voice", "voice: in character")
        finish(figure, stem, _legend(), "How much does a persona move the answers?", notes)


def personas(lines: Sequence[Line], people: Sequence[Line], stem: Path, *, toy: bool) -> None:
    """Draw accuracies under each persona, the first variant's hardest on top, controls below; axes as in `summary`."""
    benchmarks, variants = unique(lines, "benchmark"), looks(unique(lines, "variant"))
    first = accuracies_by_persona(people, benchmarks[0])[next(iter(variants))]
    order = sorted((k for k in first if k not in CONTROL_KEYS), key=lambda k: (first[k], k))
    order += [k for k in CONTROL_KEYS if k in first]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.9 + 4.25 * len(benchmarks), 0.27 * len(order) + 1.7))
        (grid,) = figure.subplots(1, len(benchmarks), squeeze=False, sharey=True)
        for axes, benchmark in zip(grid, benchmarks, strict=True):
            accuracies = accuracies_by_persona(people, benchmark)
            for height, key in enumerate(reversed(order)):
                values = [accuracies[name][key] for name in variants]
                span = [min(values), max(values)]
                axes.plot(span, [height] * 2, color=GRID, lw=3, zorder=1, solid_capstyle="round")
                for look, value in zip(variants.values(), values, strict=True):
                    shape, edge = "D" if key in CONTROL_KEYS else look.marker, {"mec": SHEET, "mew": 0.7}
                    axes.plot(value, height, shape, color=look.colour, ms=6, zorder=3, **edge)
            axes.axhline(len(order) - sum(key not in CONTROL_KEYS for key in order) - 0.5, color=FAINT, lw=0.7, ls=":")
            axes.set_yticks(range(len(order)), [_LABELS.get(key, key) for key in reversed(order)])
            _frame(axes, f"{benchmark}: accuracy", _scale(accuracies))
        handles = [
            Line2D([], [], ls="", marker=look.marker, color=look.colour, label=variant.get(name).title)
            for name, look in variants.items()
        ]
        finish(figure, stem, handles, "Accuracy under each persona", TOY if toy else "")


def _ranges(
    axes: Axes,
    lines: Sequence[Line],
    variant_looks: Mapping[str, Look],
    accuracies: Mapping[str, Mapping[str, float]],
    benchmark: str,
) -> None:
    """Draw a row per variant: personas as dots on worst to best, mean as a bar, controls as outlines."""
    controls = {"none": ("D", 6.0), "helpful": ("s", 3.6)}
    scale = _scale(accuracies)
    inches = axes.bbox.width / matplotlib.rcParams["figure.dpi"]  # before the layout, which changes it little
    near = 5.5 / 72 / inches * (scale.high - scale.low)  # a dot and its edge are 5.5 points wide
    for height, line in _rows(lines):
        tint, accuracy = variant_looks[line["variant"]].colour, accuracies[line["variant"]]
        low, *_, high = order = sorted((value, key) for key, value in accuracy.items() if key not in controls)
        values = [value for value, _ in order]
        axes.plot([low[0], high[0]], [height] * 2, color=tint, alpha=0.22, lw=9, solid_capstyle="round", zorder=1)
        dots = [height + step for step in _spread(values, near)]
        axes.scatter(values, dots, s=18, color=tint, edgecolors=SHEET, linewidths=0.5, zorder=3)
        mean = sum(values) / len(values)
        axes.plot([mean] * 2, [height - 0.29, height + 0.29], color=INK, lw=2, zorder=2, solid_capstyle="butt")
        for key, (shape, size) in controls.items():
            if key in accuracy:
                axes.plot(accuracy[key], height + 0.39, shape, mfc=SHEET, mec=INK, mew=1.1, ms=size, zorder=5)
        side: Literal["left", "right"] = "left" if low[0] < (scale.low + scale.high) / 2 else "right"
        axes.annotate(low[1], (low[0], height - 0.34), fontsize=7, color=FAINT, ha=side, va="top")
    axes.set_yticks([h for h, _ in _rows(lines)], [line["title"] for line in lines])
    axes.set_ylim(-0.6, len(lines) - 0.45)
    _frame(axes, f"{benchmark}: accuracy", scale)


def _bars(
    axes: Axes, lines: Sequence[Line], variant_looks: Mapping[str, Look], name: Literal["pss", "voice"], title: str
) -> None:
    """Draw a bar with its interval per variant; for PSS also the PSS expected if personas had no effect."""
    for height, line in _rows(lines):
        value, low, high = line[name], line.get(f"{name}_low"), line.get(f"{name}_high")
        if value is None:
            axes.annotate("not defined" if name == "pss" else "not measured", (0.02, height), color=FAINT, va="center")
            continue
        axes.barh(height, value, height=0.52, color=variant_looks[line["variant"]].colour, zorder=2)
        if low is not None and high is not None:
            axes.plot([max(low, 0), min(high, 1)], [height] * 2, color=INK, lw=1.5, zorder=5, solid_capstyle="butt")
        if name == "pss" and line["pss_null"] is not None:
            ends = [height - 0.4, height + 0.4]
            axes.plot([line["pss_null"]] * 2, ends, color=INK, lw=1.4, ls=(0, (2, 1.2)), zorder=4)
        meaningless = name == "pss" and line["floor"]
        inside = min(value, value if low is None else low) >= 0.2 and not meaningless  # clear of the interval's line
        text = f"{value:.2f}" + (" (worst may be 0)" if meaningless else "")
        position = (0.02, height if inside else height + 0.36)
        ink = "white" if inside else INK
        axes.annotate(text, position, fontsize=8.5, color=ink, va="center", weight="bold", zorder=6)
    _frame(axes, title)


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], ls="", marker="o", color=FAINT, ms=5, label="persona"),
        Line2D([], [], ls="", marker="|", color=INK, ms=11, mew=2, label="mean over personas"),
        Line2D([], [], ls="", marker="D", mfc="none", mec=INK, ms=5, label="no persona"),
        Line2D([], [], ls="", marker="s", mfc="none", mec=INK, ms=5, label="helpful assistant"),
        Line2D([], [], color=INK, lw=1.5, label="95 % interval"),
        Line2D([], [], color=INK, lw=1.4, ls=(0, (2, 1.2)), label="PSS if personas had no effect"),
    ]


@dataclass(frozen=True)
class Scale:
    """The part of 0 to 1 that an axis shows, and the distance of its ticks."""

    low: float = 0.0
    high: float = 1.0
    step: float = 0.25


def _scale(accuracies: Mapping[str, Mapping[str, float]]) -> Scale:
    """Return 0 to 1, or the part that the accuracies need if that is less than half of it."""
    values = [value for by_persona in accuracies.values() for value in by_persona.values()]
    low, high = min(values), max(values)
    if high - low > 0.5:
        return Scale()
    step = 0.05 if high - low <= 0.2 else 0.1
    first = min(math.floor(low / step + 1e-9), round(1 / step) - 1)
    return Scale(first * step, max(math.ceil(high / step - 1e-9), first + 1) * step, step)


def _frame(axes: Axes, title: str, scale: Scale = Scale()) -> None:
    room, count = 0.02 * (scale.high - scale.low), round((scale.high - scale.low) / scale.step)
    ticks = [round(scale.low + number * scale.step, 2) for number in range(count + 1)]
    axes.set_xlim(scale.low - room, scale.high + room)
    axes.set_xticks(ticks, [f"{tick:g}".removeprefix("0") or "0" for tick in ticks])
    open_frame(axes, title if scale == Scale() else f"{title}, enlarged", "x")


def open_frame(axes: Axes, title: str, grid: Literal["both", "x", "y"] = "both") -> None:
    """Give the axes a title and a grid below the data, without ticks and box."""
    axes.set_title(title, pad=7)
    axes.set_axisbelow(True)
    axes.grid(axis=grid, color=GRID, lw=0.8)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def finish(figure: Figure, stem: Path, handles: Sequence[Line2D], title: str, note: str) -> None:
    """Lay out the figure, put the sheet underneath and write both files without dates or versions."""
    height, columns = figure.get_figheight(), min(6, len(handles))
    note_lines = len(note.splitlines())
    foot = 0.18 + 0.16 * note_lines if note else 0.1  # inches
    legend = 0.14 + 0.2 * math.ceil(len(handles) / columns)
    layout = {"loc": "lower left", "bbox_to_anchor": (0.01, foot / height), "ncols": columns, "frameon": False}
    figure.legend(handles=handles, fontsize=8.5, handletextpad=0.5, columnspacing=1.3, **layout)
    figure.text(0.02, 1 - 0.3 / height, title, fontsize=13.5, weight="bold", va="center")
    figure.text(0.02, (0.12 + 0.08 * note_lines) / height, note, fontsize=8.5, color=FAINT, va="center")
    figure.tight_layout(rect=(0.005, (foot + legend) / height, 0.995, 1 - 0.5 / height), h_pad=1.4, w_pad=1.6)
    figure.patch.set_alpha(0)
    corners = "round,pad=0,rounding_size=0.012"
    sheet = FancyBboxPatch((0.006, 0.008), 0.988, 0.984, corners, transform=figure.transFigure, fc=SHEET, ec=GRID)
    sheet.set_zorder(-10)
    figure.add_artist(sheet)
    for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        data = io.BytesIO()
        figure.savefig(data, format=ending, metadata=metadata)
        files.write_bytes(stem.with_suffix(f".{ending}"), data.getvalue())


def _rows(lines: Sequence[Line]) -> list[tuple[int, Line]]:
    return [(len(lines) - 1 - number, line) for number, line in enumerate(lines)]


def _spread(values: Sequence[float], near: float) -> list[float]:
    """Return levels that separate sorted dots less than `near` apart: the first free level, else the longest free."""
    last = dict.fromkeys((0.0, 0.13, -0.13, 0.26, -0.26), -math.inf)
    steps: list[float] = []
    for value in values:
        free = [step for step, taken in last.items() if value - taken >= near]
        steps.append(free[0] if free else min(last, key=lambda step: last[step]))
        last[steps[-1]] = value
    return steps


def accuracies_by_persona(people: Sequence[Line], benchmark: str) -> dict[str, dict[str, float]]:
    """Return {variant: {persona: accuracy, mean over seeds}} on one benchmark."""
    values: dict[str, dict[str, list[float]]] = {}
    for row in people:
        if row["benchmark"] == benchmark:
            values.setdefault(row["variant"], {}).setdefault(row["persona"], []).append(row["accuracy"])
    return {name: {key: math.fsum(s) / len(s) for key, s in own.items()} for name, own in values.items()}
