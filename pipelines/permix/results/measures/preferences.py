"""Which of two models stays more in character, from pairwise judgements (Table 1). Problems count as independent."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from permix.results.measures.fidelity import Floats, Numbers, Row, exchange_test, replies, unique


def of_rows(table: Sequence[Row]) -> Numbers:
    """Return each judge's verdict on two models: a win needs both orders of a pair, any other judged pair is a tie."""
    return {name: _of_judge([row for row in table if row["judge"] == name]) for name in unique(table, "judge")}


def _of_judge(table: Sequence[Row]) -> Numbers:
    pairs: dict[tuple[str, str], dict[str, float | None]] = defaultdict(dict)
    for row in table:
        sign = 1 if row["order"] == "first" else -1
        pairs[row["problem_id"], row["persona"]][row["order"]] = None if row["score"] is None else sign * row["score"]
    judged = {key: signs for key, signs in pairs.items() if None not in signs.values() and len(signs) == 2}
    outcomes = {key: _outcome(*signs.values()) for key, signs in judged.items()}  # type: ignore[arg-type]
    decided = [row for row in table if row["score"]]
    first = [row["score"] > 0 for row in decided]
    longer = [(row["score"] > 0) == first_is_longer for row in decided for first_is_longer in _first_is_longer(row)]
    return replies(table) | {
        "pairs": len(pairs),
        "not_judged": len(pairs) - len(judged),
        "flips": sum(set(signs.values()) == {1.0, -1.0} for signs in judged.values()),
        "first_shown": sum(first) / len(first) if first else None,
        "longer": sum(longer) / len(longer) if longer else None,
        **_rates(outcomes),
        "by_persona": {
            persona: _rates({key: outcome for key, outcome in outcomes.items() if key[1] == persona})
            for persona in unique(table, "persona")
        },
    }


def _first_is_longer(row: Row) -> list[bool]:
    """Return whether the answer that was shown first is the longer one; [] for equal lengths."""
    first, second = len(row["first"]), len(row["second"])
    return [] if first == second else [(first > second) == (row["order"] == "first")]


def _outcome(first_order: float, second_order: float) -> float:
    return first_order if first_order == second_order else 0.0


def _rates(outcomes: Mapping[tuple[str, str], float]) -> Numbers:
    """Return wins and ties, win rates with and without ties, and the net margin, first minus second."""
    counts = Counter(outcomes.values())
    problems = list(dict.fromkeys(problem for problem, _ in outcomes))
    cells = np.zeros((len(problems), 3))  # won by the first, by the second, tied
    for (problem, _), outcome in outcomes.items():
        cells[problems.index(problem), {1.0: 0, -1.0: 1, 0.0: 2}[outcome]] += 1
    rates: Numbers = {"first_wins": counts[1.0], "second_wins": counts[-1.0], "ties": counts[0.0]}
    rng = np.random.default_rng(0)
    size = len(problems)
    weights = rng.multinomial(size, np.full(size, 1 / size), size=2000) if size > 1 else np.zeros((0, size))
    for name, over, under in (
        ("first_wr", [1, 0, 0], [1, 1, 1]),
        ("second_wr", [0, 1, 0], [1, 1, 1]),
        ("first_wr_no_tie", [1, 0, 0], [1, 1, 0]),
        ("second_wr_no_tie", [0, 1, 0], [1, 1, 0]),
        ("net_margin", [1, -1, 0], [1, 1, 1]),
    ):
        rates[name] = _ratio(cells.sum(0), over, under, weights @ cells)
    return rates | {"p_value": exchange_test(list(cells[:, 0] - cells[:, 1]))}


def _ratio(total: Floats, over: Sequence[int], under: Sequence[int], resampled: Floats) -> Numbers:
    if not total @ under:
        return {"value": None, "low": None, "high": None}
    denominators = resampled @ under
    sample = (resampled @ over)[denominators > 0] / denominators[denominators > 0]
    low, high = np.quantile(sample, [0.025, 0.975]) if len(sample) else (None, None)
    ends = {"low": None if low is None else float(low), "high": None if high is None else float(high)}
    return {"value": float(total @ over / (total @ under)), **ends}
