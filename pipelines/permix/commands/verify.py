"""permix verify: recompute every number of a sweep from its completions, of judgements from the judges' replies."""

from permix.commands import options
from permix.errors import PermixError
from permix.pipeline import published
from permix.publishing import hub as hubs


def verify(artifact: options.Artifact, hub_url: options.HubUrl = None) -> None:
    """Recompute the numbers of an artifact: from its completions or judgements; exit code 1 where one differs.

    Completions of sweeps are graded again; imported sweeps keep the scores of the other tool. For personagym and
    preference, the judges' raw replies are read again. No model is sampled.
    """
    from permix.pipeline import verify as verification

    hub = hubs.connect(hub_url)
    stored = published.artifact(artifact, hub)
    outcome = verification.verify(stored, hub)
    for key, (before, after) in outcome.differences.items():
        print(f"{key}: stored {before}, recomputed {after}")
    verdict = f"{outcome.changed_scores} scores and {len(outcome.differences)} of {outcome.numbers} numbers differ"
    print(f"{stored.repo}@{stored.sha[:12]}: {outcome.rows} {outcome.source}, {verdict}")
    if not outcome.holds:
        raise PermixError(f"{stored.repo} does not follow from its completions with this version of permix.")
