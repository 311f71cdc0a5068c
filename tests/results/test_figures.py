"""permix.results.reporting.figures: files, bytes and what is drawn."""

import itertools
import math
import random
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest

from permix.paper import variants as variant
from permix.prompting import persona
from permix.results.reporting import figures

NAMES = [p.key for p in (*persona.CONTROLS, *persona.bundled("eval"))]
Drawing = tuple[list[dict[str, Any]], list[dict[str, Any]]]


def data(variants: list[str], *, voice: bool = True, floor: bool = False) -> Drawing:
    draw, lines, people = random.Random(0), [], []
    for benchmark in ("arithmetic", "arithmetic-long"):
        for name in variants:
            accuracy = {key: draw.uniform(0.0 if floor else 0.4, 0.9) for key in NAMES}
            rows = {"variant": name, "benchmark": benchmark}
            people += [rows | {"persona": key, "accuracy": value} for key, value in accuracy.items()]
            numbers = {"pss": None if floor else 0.5, "pss_low": 0.4, "pss_high": 0.6, "pss_null": 0.8, "floor": floor}
            heard = {"voice": 0.9 if voice else None, "voice_low": 0.88, "voice_high": 0.92}
            lines.append(rows | numbers | heard | {"title": variant.get(name).title, "worst_persona": "lawyer"})
    return lines, people


@pytest.mark.parametrize("kind", [figures.summary, figures.personas])
@pytest.mark.parametrize("drawing", [data(["base", "rlvr", "permix-rlvr"]), data(["base"], voice=False, floor=True)])
def test_both_files_are_written_with_the_same_bytes_each_time(kind: Any, drawing: Drawing, tmp_path: Path) -> None:
    for number in ("1", "2"):
        kind(*drawing, tmp_path / number / "picture", toy=True)
    for ending in ("png", "svg"):
        first, second = ((tmp_path / n / f"picture.{ending}").read_bytes() for n in ("1", "2"))
        assert first == second
        assert len(first) > 10_000
    assert b"<dc:date>" not in (tmp_path / "1" / "picture.svg").read_bytes()


def test_every_variant_of_the_paper_has_a_place(tmp_path: Path) -> None:
    figures.summary(*data(list(variant.VARIANTS)), tmp_path / "all", toy=False)
    figures.personas(*data(list(variant.VARIANTS)), tmp_path / "dots", toy=False)
    assert (tmp_path / "all.png").is_file()
    assert (tmp_path / "dots.png").is_file()


def test_the_sheet_is_opaque_and_its_corners_are_not(tmp_path: Path) -> None:
    figures.summary(*data(["base", "rlvr"]), tmp_path / "a", toy=True)
    pixels = matplotlib.image.imread(tmp_path / "a.png")
    assert pixels[0, 0, 3] == 0, "the corner shows the page behind"
    inner = pixels[20:-20, 20:-20]
    assert (inner[..., 3] == 1).all()


def test_nothing_is_cut_off_at_the_edge(tmp_path: Path) -> None:
    """Between text and the sheet's border there is a margin of plain sheet."""
    for name, kind in (("summary", figures.summary), ("personas", figures.personas)):
        kind(*data(["base", "permix-seqkd-llama3.1-70b"]), tmp_path / name, toy=True)
        pixels = matplotlib.image.imread(tmp_path / f"{name}.png")[..., :3]
        width = pixels.shape[1]
        for strip in (pixels[40:-40, 13:19], pixels[40:-40, width - 19 : width - 13]):
            assert np.ptp(strip.reshape(-1, 3), axis=0).max() < 0.02, name


@pytest.mark.parametrize("low", [0.03, 0.8])
def test_dots_that_lie_close_together_are_drawn_apart(low: float, tmp_path: Path) -> None:
    """Accuracies within .12 use most of their axis, and no dot of a variant covers another."""
    lines, people = data(["base", "rlvr"])
    figures.summary(lines, [row | {"accuracy": low + row["accuracy"] / 5} for row in people], tmp_path / "a", toy=True)
    swarms = [swarm for swarm in drawn(tmp_path / "a.svg") if len(swarm) == 16]
    assert len(swarms) == 4  # two variants on two benchmarks
    for swarm in swarms:
        assert max(x for x, _ in swarm) - min(x for x, _ in swarm) > 100  # points, of an axis of about 300
        assert min(math.dist(*pair) for pair in itertools.combinations(swarm, 2)) > 4.2  # a dot is 4.2 points wide


def drawn(path: Path) -> list[list[tuple[float, float]]]:
    """Where the marks of every scatter of a picture stand, in points."""
    sizes = []
    for group in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}g"):
        if str(group.get("id")).startswith("PathCollection"):
            marks = group.iter("{http://www.w3.org/2000/svg}use")
            sizes.append([(float(mark.get("x", 0)), float(mark.get("y", 0))) for mark in marks])
    return sizes


def test_text_is_dark_enough_on_its_sheet() -> None:
    def luminance(colour: str) -> float:
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    sheet = luminance(figures.SHEET) + 0.05
    for colour in (figures.INK, figures.FAINT, *figures.COLOURS.values(), *figures.MIXED.values()):
        assert sheet / (luminance(colour) + 0.05) >= 4.5, colour
