"""The published artifacts of an organisation: sweeps, PersonaGym scores, preferences, tables and cases."""

import json
import math
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.compute as compute
import pyarrow.parquet as parquet
from httpx2 import HTTPError  # raised by huggingface_hub when a server does not answer
from huggingface_hub import HfApi, get_session, hf_hub_download
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

Row = dict[str, Any]
SWEEP, PERSONAGYM, PREFERENCE = "permix-sweep-", "permix-personagym-", "permix-preference-"
TABLES, CASES, QUESTIONS = "permix-tables", "permix-cases", "permix-personagym-questions"
VOTES = "permix-votes"
READ = (SWEEP, PERSONAGYM, PREFERENCE, TABLES, CASES, VOTES)
CONTROLS = ("none", "helpful")
NUMBERS = ("worst", "best", "mean", "pss", "pss_null", "p_value", "pss_corrected")
ENDS = tuple(f"{name}_{end}" for name in ("pss", "worst", "best", "mean", "pss_corrected") for end in ("low", "high"))
FIDELITY = ("voice", "recovery", "personagym")
TEXTS = ("question", "gold", "system_prompt")  # of a row; older sweeps lack them
SECONDS = 20.0  # an answer of the Hub is reused for this time, so that visitors do not multiply the requests
WAIT = 5.0  # seconds to wait for the Hub's list: huggingface_hub itself would retry for half a minute
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
ABSENT = (HTTPError, OSError)


@dataclass(frozen=True)
class Artifact:
    """One dataset at one commit; `published` is that commit's time."""

    repo: str
    sha: str
    published: datetime

    @property
    def name(self) -> str:
        """The repository's name without its organisation."""
        return self.repo.partition("/")[2]

    @property
    def url(self) -> str:
        """The address of its page."""
        return f"{HfApi().endpoint}/datasets/{self.repo}/tree/{self.sha}"

    def file(self, path: str) -> Path:
        """Return a local copy of a file; OSError or HTTPError if it is missing."""
        return Path(hf_hub_download(self.repo, path, repo_type="dataset", revision=self.sha))

    def json(self, path: str) -> Row:
        """Return the JSON object in a file; ValueError if it contains something else."""
        content = json.loads(self.file(path).read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
        return content


@dataclass(frozen=True)
class Board:
    """Everything on the page. `sweeps`: a row per sweep and benchmark; `notes`: sentences on unreadable artifacts."""

    artifacts: dict[str, Artifact] = field(default_factory=dict)
    sweeps: tuple[Row, ...] = ()
    preferences: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()
    looked: datetime | None = None

    def of(self, prefix: str) -> list[Artifact]:
        """Return the artifacts whose name starts with `prefix`."""
        return [artifact for artifact in self.artifacts.values() if artifact.name.startswith(prefix)]


class Source:
    """The artifacts of `org`, read again when a commit changes."""

    def __init__(self, org: str) -> None:
        self.org = org
        self._board = Board()
        self._asked = -math.inf
        self._down = ""
        self._lock = threading.Lock()

    def board(self, anew: bool = False) -> Board:
        """Return the artifacts, at most SECONDS old, or the last ones with a note if the Hub does not answer."""
        with self._lock:
            if anew or time.monotonic() - self._asked > SECONDS:
                self._look()
                self._asked = time.monotonic()
            down = (self._down,) if self._down else ()
            return replace(self._board, notes=down + self._board.notes)

    def _look(self) -> None:
        try:
            artifacts = listed(self.org)
            if artifacts != self._board.artifacts or self._board.looked is None:
                self._board = read(artifacts)
            self._down = ""
        except ABSENT as error:
            self._down = f"The Hub at {HfApi().endpoint} does not answer ({type(error).__name__})."
            return
        self._board = replace(self._board, looked=datetime.now(UTC))


def listed(org: str) -> dict[str, Artifact]:
    """Return the datasets of `org` that this page reads; HTTPError or OSError if the Hub does not answer."""
    url: str | None = f"{HfApi().endpoint}/api/datasets"
    query: dict[str, Any] | None = {"author": org, "search": "permix", "expand": ["sha", "lastModified"], "limit": 1000}
    artifacts: dict[str, Artifact] = {}
    while url:
        answer = get_session().get(url, params=query, headers=build_hf_headers(), timeout=WAIT)
        hf_raise_for_status(answer)
        for item in answer.json():
            if item.get("sha"):
                published = datetime.fromisoformat(item["lastModified"])
                artifacts[item["id"]] = Artifact(item["id"], item["sha"], published)
        url, query = answer.links.get("next", {}).get("url"), None
    return {
        repo: artifact
        for repo, artifact in sorted(artifacts.items())
        if artifact.name.startswith(READ) and not artifact.name.startswith(QUESTIONS)
    }


def read(artifacts: dict[str, Artifact]) -> Board:
    """Read every number of the artifacts; an unreadable summary becomes a note."""
    board = Board(artifacts)
    notes: list[str] = []

    def rows(prefix: str, make: Callable[[Artifact, Row], list[Row]]) -> list[Row]:
        with ThreadPoolExecutor(8) as pool:
            parts = pool.map(lambda artifact: _summary(artifact, make), board.of(prefix))
            read_rows = [row for part in parts for row in part]
        notes.extend(row["note"] for row in read_rows if "note" in row)
        return [row for row in read_rows if "note" not in row]

    scores = {row["name"]: row for row in rows(PERSONAGYM, _score)}
    sweeps = rows(SWEEP, _sweep)
    for row in sweeps:
        row |= {"personagym": scores.get(row["name"].removeprefix(SWEEP), {}).get("score")}
    sweeps.sort(key=lambda row: (row["benchmark"], row["base"], -(row["worst"] or 0), row["title"], row["seed"]))
    return Board(artifacts, tuple(sweeps), tuple(rows(PREFERENCE, _preference)), tuple(notes))


def conditions(artifact: Artifact, benchmark: str, persona: str) -> dict[str, list[float]]:
    """{problem: scores of its runs} under one persona."""
    table = parquet.read_table(_data(artifact, benchmark), columns=["persona", "problem_id", "score"])
    chosen = table.filter(compute.equal(table["persona"], persona))
    scores: dict[str, list[float]] = {}
    for problem, score in zip(chosen["problem_id"].to_pylist(), chosen["score"].to_pylist(), strict=True):
        scores.setdefault(problem, []).append(score)
    return scores


def answers(artifact: Artifact, benchmark: str, persona: str, problem: str) -> list[Row]:
    """Return the rows of one persona and problem, one for each run; the file can be large and is read in blocks."""
    rows: list[Row] = []
    file = parquet.ParquetFile(_data(artifact, benchmark))
    names = ["persona", "problem_id", "run", "score", "status", "extracted", "finish", "completion"]
    names += [name for name in TEXTS if name in file.schema_arrow.names]
    for block in file.iter_batches(2048, columns=names):
        mask = compute.and_(compute.equal(block["persona"], persona), compute.equal(block["problem_id"], problem))
        rows += block.filter(mask).to_pylist()
    return sorted(rows, key=lambda row: row["run"])


def cases(artifact: Artifact) -> list[Row]:
    """Return the rows of a cases artifact, one for each case and variant."""
    return list(parquet.read_table(artifact.file("data/test-00000-of-00001.parquet")).to_pylist())


def question(board: Board, problem: str) -> str:
    """Return the text of a problem from the published cases, or "", for sweeps that contain only its id."""
    for artifact in board.of(CASES):
        try:
            return next((row["question"] for row in cases(artifact) if row["problem_id"] == problem), "")
        except (*ABSENT, *UNREADABLE):
            continue
    return ""


def _data(artifact: Artifact, benchmark: str) -> Path:
    return artifact.file(f"data/{benchmark}/test-00000-of-00001.parquet")


def _summary(artifact: Artifact, make: Callable[[Artifact, Row], list[Row]]) -> list[Row]:
    """Return the rows that `make` reads from its summary, or a row with a note."""
    try:
        return make(artifact, artifact.json("summary.json"))
    except UNREADABLE as error:
        why = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be read ({error})"
    except ABSENT as error:
        why = f"is missing ({type(error).__name__})"
    return [{"note": f"{artifact.repo}@{artifact.sha[:7]} is not shown: its summary.json {why}."[:300]}]


def _sweep(artifact: Artifact, summary: Row) -> list[Row]:
    shared: Row = {"repo": artifact.repo, "name": artifact.name, "title": _text(summary["title"])}
    shared |= {"base": _text(summary["base"]), "seed": int(summary["seed"])}
    return [shared | {"benchmark": _text(name)} | _measured(numbers) for name, numbers in summary["benchmarks"].items()]


def _measured(numbers: Row) -> Row:
    """The numbers of one sweep on one benchmark, by the names of the tables."""
    accuracy = {_text(persona): _number(value) for persona, value in numbers["accuracy"].items()}
    row: Row = {name: _number(numbers["pss"].get(name)) for name in (*NUMBERS, *ENDS)}
    row |= {"floor": numbers["pss"].get("floor") is True, "accuracy": accuracy}
    row |= {name: _number(numbers.get(name)) for name in ("problems", "runs", "personas", "voice", "truncated")}
    row["recovery"] = _number((numbers.get("recovery") or {}).get("accuracy"))
    voices = numbers.get("voice_by_persona") or {}
    row["voices"] = {_text(persona): _number(value) for persona, value in voices.items()}
    return row | {name: accuracy.get(name) for name in CONTROLS}


def _score(artifact: Artifact, summary: Row) -> list[Row]:
    return [{"name": artifact.name.removeprefix(PERSONAGYM), "score": _number(summary["score"]["mean"])}]


def _preference(artifact: Artifact, summary: Row) -> list[Row]:
    shared = {"repo": artifact.repo, "first": _text(summary["first"]), "second": _text(summary["second"])}
    names = ("first_wins", "second_wins", "ties", "flips", "p_value")
    return [
        shared | {"judge": _text(judge)} | {name: _number(counts.get(name)) for name in names}
        for judge, counts in summary["judges"].items()
    ]


def _number(value: object) -> float | None:
    """Return a finite number, or None if undefined; ValueError for anything else."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{str(value)[:40]!r} is not a number")
    return float(value)


def _text(value: object) -> str:
    """Return a name on one line; ValueError for anything but text."""
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:40]!r} is not a name")
    return " ".join(value.split())[:80]


def options(rows: Iterable[Row], name: str) -> list[Any]:
    """Return the distinct values of a column, sorted."""
    return sorted({row[name] for row in rows})
