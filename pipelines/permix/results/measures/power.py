"""What a sweep of a given size can detect, by simulation: noise floor, smallest detectable difference, power.

The simulated model answers problem q under persona p with probability sigmoid(level_p + easy_q + own_q + luck_pq):
`easy` is the difficulty of a problem for both variants, `own` for one variant, `luck` for one persona. Their standard
deviations on the logit scale are assumed. Simulated sweeps are tested like real ones.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from permix.errors import BadInput
from permix.results.measures import pss

Floats = NDArray[np.float64]
EASY, OWN, LUCK = 2.0, 0.7, 0.7
MEASURES = ("pss", "worst", "mean")
SMALL = 0.15
"""A sweep that detects only larger differences of PSS misses the paper's main result (.675 to .818)."""
DETECTABLE = 2.8  # standard errors detected with power .8 at the two-sided 5 % level: 1.96 + 0.84


@dataclass(frozen=True)
class Size:
    """The size of a sweep."""

    problems: int
    runs: int
    personas: int = 16

    def __post_init__(self) -> None:
        for name, least in (("problems", 2), ("runs", 1), ("personas", 2)):
            if getattr(self, name) < least:
                raise BadInput(f"{name} is {getattr(self, name)}: it should be at least {least}.")


@dataclass(frozen=True)
class Resolution:
    """PSS without a persona effect, and the smallest differences that a sweep detects with power .8."""

    noise_floor: float
    pss: float
    worst: float
    mean: float


def levels(accuracy: float, spread: float, personas: int) -> Floats:
    """Return evenly spaced accuracies of personas from accuracy - spread / 2 to accuracy + spread / 2."""
    if not 0 <= spread < 1 or not 0 < accuracy - spread / 2 <= accuracy + spread / 2 < 1:
        raise BadInput(f"An accuracy of {accuracy:g} with a spread of {spread:g} leaves 0 to 1: choose others.")
    return np.linspace(accuracy - spread / 2, accuracy + spread / 2, personas)


def changed(measure: str, difference: float, accuracy: float, spread: float, personas: int) -> Floats | None:
    """Return accuracies `difference` higher in `measure`, or None: all personas shift, or the spread narrows."""
    first = levels(accuracy, spread, personas)
    if measure == "mean":
        return levels(accuracy + difference, spread, personas)
    if measure == "worst":
        narrower = spread - 2 * difference
    else:
        second_pss = first[0] / first[-1] + difference
        narrower = 2 * accuracy * (1 - second_pss) / (1 + second_pss)
    return levels(accuracy, narrower, personas) if narrower >= 0 else None


def power(
    size: Size, accuracy: float, spread: float, difference: float, *, trials: int = 100, draws: int = 100, seed: int = 0
) -> dict[str, float]:
    """Return the share of trials (two sweeps, pss.paired) that detect the difference (p <= .05), per measure."""
    powers: dict[str, float] = {}
    for measure in MEASURES:
        first = levels(accuracy, spread, size.personas)
        second = changed(measure, difference, accuracy, spread, size.personas)
        if second is None:
            continue
        rng = np.random.default_rng(seed)
        items, detected = np.full(size.problems, float(size.runs)), 0
        for trial in range(trials):
            pair = pss.paired_cells(*_pair(first, second, size, rng), items, trial, draws)
            detected += pair[f"{measure}_p_value"] <= 0.05 and pair[measure] > 0
        powers[measure] = detected / trials
    return powers


def resolution(
    size: Size, accuracy: float = 0.5, spread: float = 0.15, *, trials: int = 60, seed: int = 0
) -> Resolution:
    """Return the resolution of a sweep for a model of this accuracy and spread between its personas."""
    rng, same = np.random.default_rng(seed), levels(accuracy, spread, size.personas)
    differences = []
    for _ in range(trials):
        first, second = (cells.sum(1) / (size.problems * size.runs) for cells in _pair(same, same, size, rng))
        differences.append([_ratio(second) - _ratio(first), second.min() - first.min(), second.mean() - first.mean()])
    flat = levels(accuracy, 0, size.personas)
    floor = [_ratio(_pair(flat, flat, size, rng)[0].sum(1)) for _ in range(trials)]
    return Resolution(float(np.mean(floor)), *(DETECTABLE * np.sqrt(np.mean(np.square(differences), axis=0))).tolist())


def too_small(size: Size, purpose: float = SMALL) -> str | None:
    """Return a warning if a sweep of this size cannot detect a difference of `purpose` in PSS, else None."""
    actual = resolution(size)
    if actual.pss <= purpose:
        return None
    enough = size.problems
    while (detectable := resolution(replace(size, problems=enough)).pss) > purpose:  # PSS of few problems is not normal
        enough = math.ceil(enough * max(1.2, (detectable / purpose) ** 2))
    return (
        f"{size.problems} problems x {size.runs} runs x {size.personas} personas detect differences of PSS above about "
        f"{actual.pss:.2f}, and personas without an effect would give PSS {actual.noise_floor:.2f} (at accuracy .5): "
        f"take about {_round_up(enough)} problems to detect {purpose:g} (`permix power`)."
    )


def _pair(first: Floats, second: Floats, size: Size, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw the numbers of right answers [personas, problems] of two variants on the same problems."""
    easy, variants = rng.normal(0, EASY, size.problems), []
    for accuracy in (first, second):
        logit = _centre(accuracy)[:, None] + easy + rng.normal(0, OWN, size.problems)
        chance = _sigmoid(logit + rng.normal(0, LUCK, logit.shape))
        variants.append(rng.binomial(size.runs, chance).astype(np.float64))
    return variants[0], variants[1]


def _centre(accuracy: Floats) -> Floats:
    """Return the level whose mean over problems is `accuracy`, by bisection over the normal's quadrature points."""
    points, weights = np.polynomial.hermite_e.hermegauss(31)
    offsets, weights = points * math.hypot(EASY, OWN, LUCK), weights / weights.sum()
    low, high = np.full(accuracy.shape, -30.0), np.full(accuracy.shape, 30.0)
    for _ in range(50):
        middle = (low + high) / 2
        above = _sigmoid(middle[:, None] + offsets) @ weights > accuracy
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return low


def _sigmoid(logit: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logit)))


def _ratio(accuracy: Floats) -> float:
    return float(accuracy.min() / max(accuracy.max(), 1e-300))


def _round_up(number: float) -> int:
    unit = int(10 ** max(0, math.floor(math.log10(number)) - 1))
    return math.ceil(number / unit) * unit
