"""permix verify: recompute every number of a sweep from its completions, of judgements from the judges' raw replies."""

from permix.commands import options
from permix.errors import PermixError


def verify(artifact: options.Artifact, hub_url: options.HubUrl = None) -> None:
    """Grade a sweep's completions again and recompute its numbers; exit 1 where one differs.

    The numbers of an imported sweep are recomputed from the scores that the other tool gave. Those of personagym and
    preference are recomputed from the judges' raw replies. No model is sampled.
    """
    from permix.pipeline import published
    from permix.pipeline import verify as verification
    from permix.publishing import hub as hubs

    hub = hubs.connect(hub_url)
    stored = published.artifact(artifact, hub)
    outcome = verification.verify(stored, hub)
    for key, (before, after) in outcome.differences.items():
        print(f"{key}: stored {before}, recomputed {after}")
    verdict = f"{outcome.changed_scores} scores and {len(outcome.differences)} of {outcome.numbers} numbers differ"
    print(f"{stored.repo}@{stored.sha[:12]}: {outcome.rows} {outcome.source}, {verdict}")
    if not outcome.holds:
        raise PermixError(f"{stored.repo} does not follow from its completions with this version of permix.")
