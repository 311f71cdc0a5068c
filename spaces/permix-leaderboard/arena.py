"""A blind arena: two published answers under one persona, and a vote for the one that is more in character.

The pairs are those of the judges (artifacts permix-preference-…), so that people and judges can be compared. Votes are
rows of the dataset permix-votes, committed in batches, without anything about a voter.
"""

import atexit
import functools
import json
import os
import random
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd
import pyarrow.parquet as parquet
import shown
from artifacts import ABSENT, PREFERENCE, UNREADABLE, VOTES, Artifact, Board, Row, Source
from huggingface_hub import CommitOperationAdd, HfApi

FIRST, SECOND, TIE = "first", "second", "tie"
CARD = """---
license: apache-2.0
tags: [permix, persona, human-preference]
configs:
- config_name: default
  data_files: data/*.jsonl
---

# Votes of a blind arena

Each row is the vote of a visitor of the leaderboard: which of two answers to one problem under one persona is more in
character. `preference` at `revision` is the dataset with the pair; `problem_id` and `persona` identify the pair there.
`vote` is `first`, `second` or `tie` in that dataset's order. `shown` is the answer on the left. `page` is a random word
for one opened page, so that the votes of one visit can be grouped. Nothing else about a voter is stored.
"""


@dataclass(frozen=True)
class Pair:
    """Two answers to one problem under one persona, with each judge's verdict (FIRST, SECOND or TIE)."""

    problem: str
    persona: str
    question: str
    texts: Mapping[str, str]
    judges: Mapping[str, str]


class Box:
    """Write votes to `folder` at once and to the Hub every `minutes`, those of earlier processes included."""

    def __init__(self, org: str, minutes: float, folder: Path) -> None:
        self.minutes = minutes
        self._repo, self._folder = f"{org}/{VOTES}", folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{uuid.uuid4().hex}.jsonl"  # one for each process
        self._published: dict[Path, int] = {}  # bytes
        self._writing, self._publishing = threading.Lock(), threading.Lock()
        atexit.register(self._publish)
        threading.Thread(target=self._publish_always, daemon=True).start()

    def put(self, row: Row) -> None:
        """Store a vote so that it survives this process; OSError if the disk fails."""
        with self._writing, self._file.open("ab") as out:
            out.write(json.dumps(row).encode() + b"\n")
            out.flush()
            os.fsync(out.fileno())

    def waiting(self) -> int:
        """Return the number of votes that are not yet on the Hub."""
        return sum(data[self._published.get(path, 0) :].count(b"\n") for path, data in self._grown().items())

    def _grown(self) -> dict[Path, bytes]:
        """Return the files with votes that are not yet on the Hub."""
        with self._writing:
            files = {path: path.read_bytes() for path in sorted(self._folder.glob("*.jsonl"))}
        return {path: data for path, data in files.items() if len(data) > self._published.get(path, 0)}

    def _publish(self) -> None:
        """Commit the new votes; after a failure they stay for the next time."""
        with self._publishing:
            grown = self._grown()
            if not grown:
                return
            api = HfApi()
            try:
                api.create_repo(self._repo, repo_type="dataset", exist_ok=True)
                files = {f"data/{path.name}": _whole_lines(data) for path, data in grown.items()}
                if not api.file_exists(self._repo, "README.md", repo_type="dataset"):
                    files["README.md"] = CARD.encode()
                operations = [CommitOperationAdd(path, data) for path, data in files.items()]
                api.create_commit(self._repo, operations, repo_type="dataset", commit_message="Add votes")
            except (*ABSENT, *UNREADABLE) as error:
                print(f"votes are not yet on the Hub: {type(error).__name__}", file=sys.stderr)
                return
            self._published |= {path: len(data) for path, data in grown.items()}

    def _publish_always(self) -> None:
        while True:
            self._publish()
            time.sleep(60 * self.minutes)


def _whole_lines(data: bytes) -> bytes:
    """Return `data` without a last line that a kill has cut."""
    return data[: data.rfind(b"\n") + 1]


@functools.lru_cache(maxsize=32)
def pairs(artifact: Artifact) -> tuple[Pair, ...]:
    """Return the judged pairs of one artifact."""
    judgements: dict[tuple[str, str], list[Row]] = {}
    for row in parquet.read_table(artifact.file("data/test-00000-of-00001.parquet")).to_pylist():
        judgements.setdefault((row["problem_id"], row["persona"]), []).append(row)
    return tuple(
        Pair(*key, rows[0]["question"], {FIRST: rows[0]["first"], SECOND: rows[0]["second"]}, _verdicts(rows))
        for key, rows in judgements.items()
    )


def _verdicts(rows: Iterable[Row]) -> dict[str, str]:
    """{judge: outcome}: an answer wins if the judge prefers it in both orders; else it is a tie."""
    scores: dict[str, list[float | None]] = {}
    for row in rows:
        sign = 1 if row["order"] == FIRST else -1
        scores.setdefault(row["judge"], []).append(None if row["score"] is None else sign * row["score"])
    return {
        judge: FIRST if min(known) > 0 else SECOND if max(known) < 0 else TIE
        for judge, of_judge in scores.items()
        if len(known := [score for score in of_judge if score is not None]) == 2
    }


@functools.lru_cache(maxsize=4)
def votes(artifact: Artifact) -> tuple[Row, ...]:
    """Return the rows of the dataset of votes at one commit."""
    names = HfApi().list_repo_files(artifact.repo, repo_type="dataset", revision=artifact.sha)
    lines = [
        line for name in names if name.endswith(".jsonl") for line in artifact.file(name).read_text("utf-8").split("\n")
    ]
    return tuple(json.loads(line) for line in lines if line)


def agreement(board: Board) -> pd.DataFrame:
    """Agreement of people with each judge; kappa is the agreement beyond chance (Cohen, 1960)."""
    cast = [row for artifact in board.of(VOTES) for row in votes(artifact)]
    outcomes: dict[str, list[tuple[str, str]]] = {}
    known = {a.repo: {(p.problem, p.persona): p.judges for p in pairs(a)} for a in board.of(PREFERENCE)}
    for row in cast:
        for judge, outcome in known.get(row["preference"], {}).get((row["problem_id"], row["persona"]), {}).items():
            outcomes.setdefault(judge, []).append((row["vote"], outcome))
    rows = [[judge, len(paired), *_agreed(paired)] for judge, paired in sorted(outcomes.items())]
    return pd.DataFrame(rows, columns=["judge", "votes", "agreement", "by chance", "kappa"])


def _agreed(paired: list[tuple[str, str]]) -> list[float | None]:
    same = sum(vote == outcome for vote, outcome in paired) / len(paired)
    people, judge = (Counter(side) for side in zip(*paired, strict=True))
    chance = sum(people[name] * judge[name] for name in people) / len(paired) ** 2
    return [round(same, 3), round(chance, 3), round((same - chance) / (1 - chance), 3) if chance < 1 else None]


@dataclass(frozen=True)
class Arena:
    """Draw pairs of the published judgements and store the votes on them."""

    source: Source
    box: Box

    def draw(self) -> tuple[Row | None, str]:
        """Return a pair in random order; the page gets only its texts."""
        artifacts = self.source.board().of(PREFERENCE)
        try:
            artifact = random.choice(artifacts)  # noqa: S311
            pair = random.choice(pairs(artifact))  # noqa: S311
        except IndexError:
            return None, shown.sentence("No pairwise judgements are published: permix preference publishes them.")
        except (*ABSENT, *UNREADABLE) as error:
            return None, shown.sentence(f"The answers cannot be read ({type(error).__name__}).")
        left, right = random.sample((FIRST, SECOND), 2)
        drawn = {"preference": artifact.repo, "revision": artifact.sha, "problem_id": pair.problem}
        drawn |= {"persona": pair.persona, "shown": left}
        return drawn, shown.blind(pair.persona, pair.question, pair.texts[left], pair.texts[right])

    def vote(self, choice: str, drawn: Row | None, request: gr.Request) -> tuple[Row | None, str, str]:
        """Store the vote and show the next pair."""
        if drawn is None:
            return (*self.draw(), shown.announced("The vote was not counted: this page had not shown a pair yet."))
        left, right = (FIRST, SECOND) if drawn["shown"] == FIRST else (SECOND, FIRST)
        voted = {"Left": left, "Right": right}.get(choice, TIE)
        row = drawn | {"vote": voted, "page": str(request.session_hash), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
        try:
            self.box.put(row)
        except OSError as error:
            words = f"The vote could not be stored ({type(error).__name__}): vote again in a minute."
            return drawn, gr.skip(), shown.announced(words)
        names = drawn["preference"].partition(PREFERENCE)[2].partition("-vs-")
        models = {FIRST: names[0], SECOND: names[2]}
        words = f"Thank you. Left was {models[left]}, right was {models[right]}. {self.on_their_way()}"
        return (*self.draw(), shown.announced(words))

    def on_their_way(self) -> str:
        """One sentence on the votes that are not yet on the Hub."""
        waiting = self.box.waiting()
        votes = "1 vote is" if waiting == 1 else f"{waiting} votes are"
        return f"{votes} stored here and not yet on the Hub: they follow within {self.box.minutes:g} minutes."

    def compared(self) -> pd.DataFrame:
        """The table of people and judges; empty if it cannot be read."""
        try:
            return agreement(self.source.board())
        except (*ABSENT, *UNREADABLE):
            return pd.DataFrame(columns=["judge", "votes", "agreement", "by chance", "kappa"])


def tab(source: Source, box: Box) -> None:
    """Build the tab."""
    arena = Arena(source, box)
    with gr.Tab("Arena") as here:
        gr.Markdown(
            "Which answer stays **more in character**? Correctness does not count. Votes are published without "
            "anything about you. The models are named after the vote."
        )
        drawn = gr.State()
        answers = gr.HTML()
        with gr.Row():
            buttons = [gr.Button(name, min_width=90) for name in ("Left", "Tie", "Right")]
        thanks = gr.HTML(shown.announced(""))
        table = gr.Dataframe(label="people and judges", interactive=False)
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "undocumented"}
    here.select(arena.draw, None, [drawn, answers], api_name="pair", **quiet)
    here.select(arena.compared, None, table, api_name="agreement", **quiet)
    for button in buttons:
        button.click(
            arena.vote, [button, drawn], [drawn, answers, thanks], api_name=f"vote_{button.value.lower()}", **quiet
        )
