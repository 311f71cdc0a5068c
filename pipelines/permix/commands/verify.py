"""permix verify: recompute every number of a sweep from its stored completions."""

from collections.abc import Iterator
from typing import Any

from permix.commands import options
from permix.errors import BadInput, PermixError


def verify(artifact: options.Artifact, hub: options.Hub = None) -> None:
    """Grade a sweep's completions again and recompute its numbers; exit 1 where one differs."""
    from permix import chain, recipe
    from permix import hub as hubs
    from permix.provenance import canonical
    from permix.stages import sweep

    place = hubs.connect(hub)
    head = chain.find(artifact, place)
    assert head.record is not None
    if head.record["stage"] != "sweep":
        raise BadInput(f"{head.repo} was made by stage {head.record['stage']}: only sweeps can be verified.")
    config = recipe.config_of(sweep.Config, head.record["config"])
    folder = place.fetch(head)
    needed = {n: s for n, s in head.record["inputs"].items() if n.startswith("benchmark/")}
    inputs = {
        name: place.fetch(_there(place.head(f"{s['repo']}@{s['revision']}"), s["repo"])) for name, s in needed.items()
    }
    regraded, changed, total = {}, 0, 0
    for name, problems in sweep.problems_of(config, inputs).items():
        stored = sweep.read(folder, name)
        regraded[name] = sweep.regrade(config, stored, problems)
        changed += sum(old["score"] != new["score"] for old, new in zip(stored, regraded[name], strict=True))
        total += len(stored)
    old = dict(_flat(head.record["facts"]["summary"]))
    new = dict(_flat(canonical(sweep.summarise(config, regraded))))
    differing = [key for key in sorted({*old, *new}) if not _equal(old.get(key), new.get(key))]
    for key in differing:
        print(f"{key}: stored {old.get(key)}, recomputed {new.get(key)}")
    found = f"{changed} scores and {len(differing)} of {len(new)} numbers differ"
    print(f"{head.repo}@{head.sha[:12]}: {total} completions graded again, {found}")
    if changed or differing:
        raise PermixError(f"{head.repo} does not follow from its completions with this version of permix.")


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
