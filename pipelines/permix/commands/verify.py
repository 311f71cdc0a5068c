"""permix verify: recompute every number of a sweep from its completions, of judgements from the judges' raw replies."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from permix.commands import options
from permix.errors import BadInput, PermixError
from permix.pipeline.stored import Tables, rows

if TYPE_CHECKING:
    from permix.publishing.hub import Hub

HOW = {
    "sweep": "completions graded again",
    "import": "completions as they were scored",
    "personagym": "judgements read again from raw replies",
    "preference": "judgements read again from raw replies",
}
"""By stage, what its numbers are recomputed from."""


def verify(artifact: options.Artifact, hub: options.Hub = None) -> None:
    """Grade a sweep's completions again and recompute its numbers; exit 1 where one differs.

    Of an imported sweep, which another tool scored, the numbers are recomputed from its scores; of personagym and
    preference, scores are read again from the judges' raw replies. Nothing is asked of any model.
    """
    from permix import stages
    from permix.commands import import_logs
    from permix.pipeline import plan
    from permix.publishing import hub as hubs
    from permix.run_record import canonical

    place = hubs.connect(hub)
    head = plan.find(artifact, place)
    assert head.record is not None
    stage = head.record["stage"]
    if stage not in HOW:
        raise BadInput(f"{head.repo} was made by stage {stage}: only sweeps and judgements can be verified.")
    if stage in ("personagym", "preference"):
        stored, regraded, summary = stages.get(stage).replay(place.fetch(head), head.record["config"])
    else:
        stored = rows(head, place)
        again = _from_scores if stage == import_logs.STAGE else _from_completions
        regraded, summary = again(head.record, stored, place)
    pairs = [pair for name, table in regraded.items() for pair in zip(stored[name], table, strict=True)]
    changed = sum(old["score"] != new["score"] for old, new in pairs)
    old = dict(_flat(head.record["facts"]["summary"]))
    new = dict(_flat(canonical(summary)))
    differing = [key for key in sorted({*old, *new}) if not _equal(old.get(key), new.get(key))]
    for key in differing:
        print(f"{key}: stored {old.get(key)}, recomputed {new.get(key)}")
    found = f"{changed} scores and {len(differing)} of {len(new)} numbers differ"
    print(f"{head.repo}@{head.sha[:12]}: {len(pairs)} {HOW[stage]}, {found}")
    if changed or differing:
        raise PermixError(f"{head.repo} does not follow from its completions with this version of permix.")


def _from_completions(record: Mapping[str, Any], stored: Tables, place: "Hub") -> tuple[Tables, dict[str, Any]]:
    """The rows graded again, and the summary of them."""
    from permix.pipeline import checking
    from permix.stages import sweep
    from permix.stages.shared import sweep_rows

    config = checking.config_of(sweep.Config, record["config"])
    needed = {n: s for n, s in record["inputs"].items() if n.startswith("benchmark/")}
    heads = {n: _there(place.head(f"{s['repo']}@{s['revision']}"), s["repo"]) for n, s in needed.items()}
    files = sweep.reads(config)
    inputs = {name: place.fetch(head, files.get(name, ())) for name, head in heads.items()}
    problems = sweep.problems_of(config, inputs)
    regraded = {name: sweep_rows.regrade(stored[name], found) for name, found in problems.items()}
    return regraded, sweep.summarise(config, regraded)


def _from_scores(record: Mapping[str, Any], stored: Tables, place: "Hub") -> tuple[Tables, dict[str, Any]]:
    """The rows as they are, and the summary of them."""
    from permix.commands import import_logs
    from permix.pipeline import checking

    return stored, import_logs.summarise(checking.config_of(import_logs.Config, record["config"]), stored)


def _there(head: Any, repo: str) -> Any:
    if head is None:
        raise BadInput(f"{repo}, whose problems the sweep used, is not on this Hub: import it first.")
    return head


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}/{key}" if path else key)
    else:
        yield path, value


def _equal(a: Any, b: Any) -> bool:
    """Equal, with NaN equal to itself and room for another machine's last bit."""
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-9 or (a != a and b != b)
    return bool(a == b)
