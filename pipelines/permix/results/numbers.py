"""Every number of a sweep on one benchmark, as a function of its rows (sections 3.1 and 4.2)."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from permix import persona

Row = dict[str, Any]


def of_rows(table: Sequence[Row], *, draws: int, toy: bool) -> dict[str, Any]:
    """Accuracies, PSS and what stands beside it, from a sweep's rows on one benchmark.

    The controls stand beside the personas and stay out of PSS; `toy` adds voice and method by the toy world's markers.
    """
    from permix import pss

    controls = {c.key for c in persona.CONTROLS}
    items = [row for row in table if row["persona"] not in controls]
    columns: dict[str, Any] = {
        name: [row[source] for row in items]
        for name, source in (("scores", "score"), ("personas", "persona"), ("problems", "problem_id"), ("runs", "run"))
    }
    statistics = pss.compute(**columns, seed=0, draws=draws)
    statistics.pop("accuracy")
    statistics = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in statistics.items()}
    by_persona = _by_persona(table)
    return {
        "problems": len({row["problem_id"] for row in items}),
        "runs": len({row["run"] for row in items}),
        "personas": len({row["persona"] for row in items}),
        "pss": statistics,
        "accuracy": {key: _mean(row["score"] for row in rows) for key, rows in by_persona.items()},
        "truncated": _mean(row["finish"] == "length" for row in table),
        "tokens_out": _mean(row["tokens_out"] for row in table),
        **(_style(by_persona) if toy else {"voice": None, "voice_by_persona": {}, "methods": None}),
    }


def _style(by_persona: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """What the toy world's own markers say of voice and method; the personas' mean leaves the controls out."""
    from permix.toy import style

    controls = {c.key for c in persona.CONTROLS}
    spoken = {
        key: _mean(style.voice_expressed(key, row["completion"]) for row in rows)
        for key, rows in by_persona.items()
        if key not in controls
    }
    methods = {key: Counter(style.method(row["completion"]) for row in rows) for key, rows in by_persona.items()}
    shares = {key: {name: n / counts.total() for name, n in sorted(counts.items())} for key, counts in methods.items()}
    return {"voice": _mean(spoken.values()), "voice_by_persona": spoken, "methods": shares}


def _by_persona(table: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in table:
        found[row["persona"]].append(row)
    return found


def _mean(values: Iterable[float]) -> float:
    numbers = [float(v) for v in values]
    return round(sum(numbers) / len(numbers), 6)
