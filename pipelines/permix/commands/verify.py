"""permix verify: recompute every number of a sweep from its completions, of judgements from the judges' replies."""

from permix.commands import options
from permix.errors import PermixError
from permix.parquet import Row
from permix.pipeline import published
from permix.pipeline import verify as verification
from permix.publishing import hub as hubs

SHOWN = 5
"""The rows with another score that are printed."""


def verify(artifact: options.Artifact, hub_url: options.HubUrl = None) -> None:
    """Recompute the numbers of an artifact: from its completions or judgements; exit code 1 where one differs.

    Completions of sweeps are graded again; imported sweeps keep the scores of the other tool. For personagym and
    preference, the judges' raw replies are read again. No model is sampled.
    """
    hub = hubs.connect(hub_url)
    stored = published.artifact(artifact, hub)
    outcome = verification.verify(stored, hub)
    for key, (before, after) in outcome.differences.items():
        print(f"{key}: stored {before}, recomputed {after}")
    for before, after in outcome.changed[:SHOWN]:
        _show(before, after)
    verdict = f"{len(outcome.changed)} scores and {len(outcome.differences)} of {outcome.numbers} numbers differ"
    print(f"{stored.repo}@{stored.sha[:12]}: {outcome.rows} {outcome.source}, {verdict}")
    if not outcome.holds:
        raise PermixError(f"{stored.repo} does not follow from its completions with this version of permix.")


def _show(before: Row, after: Row) -> None:
    names = [f"{name} {after[name]}" for name in ("problem_id", "persona", "run") if name in after]
    print(f"{', '.join(names) or 'A row'}: stored score {before['score']}, recomputed {after['score']}")
    for name in ("question", "gold"):
        if after.get(name):
            print(f"  {name}: {_short(after[name])}")
    if "extracted" in after:
        print(f"  extracted: stored {_short(before['extracted'])}, recomputed {_short(after['extracted'])}")


def _short(text: str | None) -> str:
    line = " ".join(text.split()) if text else "nothing"
    return line if len(line) <= 300 else f"{line[:300]}…"
