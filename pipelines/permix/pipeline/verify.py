"""Recompute the numbers of a published artifact from its own rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from permix import stages
from permix.errors import BadInput
from permix.parquet import Row
from permix.publishing.hub import Artifact, Hub, RepositoryState
from permix.run_record import canonical


@dataclass(frozen=True)
class Verification:
    """Stored and recomputed numbers that differ, out of `numbers`, and rows whose score `changed`, out of `rows`."""

    source: str
    rows: int
    changed: list[tuple[Row, Row]]
    numbers: int
    differences: dict[str, tuple[Any, Any]]

    @property
    def holds(self) -> bool:
        """Whether every recomputed score and number equals the stored one."""
        return not (self.changed or self.differences)


def verify(artifact: Artifact, hub: Hub) -> Verification:
    """Grade completions and read judges' replies again, and recompute the summary; BadInput without replay."""
    record = artifact.record
    name = record["stage"]
    replay = stages.get(name).replay if name in (*stages.NAMES, *stages.COMMANDS) else None
    if replay is None:
        raise BadInput(f"{artifact.repo} was made by stage {name}: only sweeps and judgements can be verified.")
    sources = {n: source for n, source in record["inputs"].items() if replay.inputs and n.startswith(replay.inputs)}
    folders = {n: hub.fetch(_input(source, hub)) for n, source in sources.items()}
    stored, scored, summary = replay.run(record["config"], hub.fetch(artifact), folders)
    pairs = [pair for table, rows in scored.items() for pair in zip(stored[table], rows, strict=True)]
    old, new = dict(_numbers(record["facts"]["summary"])), dict(_numbers(canonical(summary)))
    differences = {key: (old.get(key), new.get(key)) for key in sorted({*old, *new})}
    return Verification(
        source=replay.source,
        rows=len(pairs),
        changed=[pair for pair in pairs if pair[0]["score"] != pair[1]["score"]],
        numbers=len(new),
        differences={key: pair for key, pair in differences.items() if not _equal(*pair)},
    )


def _input(source: dict[str, str], hub: Hub) -> RepositoryState:
    state = hub.state(f"{source['repo']}@{source['revision']}")
    if state is None:
        raise BadInput(f"{source['repo']}, whose problems the sweep used, is not on this Hub: import it first.")
    return state


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, f"{path}/{key}" if path else key)
    else:
        yield path, value


def _equal(a: Any, b: Any) -> bool:
    """Compare with NaN equal to itself and a tolerance for the last bit of another machine."""
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-9 or (a != a and b != b)
    return bool(a == b)
