"""A blind arena: two published answers under one persona, and a vote on which of them stays more in character.

Shown are pairs that judges have compared (artifacts permix-preference-…), so that people and judges can be held against
each other. Votes are rows of the dataset permix-votes, committed in batches; nothing of a voter is in them.
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

Two answers to one problem under one persona, and which of them a visitor of the leaderboard found more in character.
`preference` at `revision` is the dataset with the pair, `problem_id` and `persona` name it there; `vote` is `first`,
`second` or `tie` in that dataset's words, `shown` which of them stood on the left. `page` is a random word for one
opened page, so that votes of one visitor can be told together; nothing else of a voter is known.
"""


@dataclass(frozen=True)
class Pair:
    """Two answers to one problem under one persona, and what each judge said of them (FIRST, SECOND or TIE)."""

    problem: str
    persona: str
    question: str
    texts: Mapping[str, str]
    judges: Mapping[str, str]


class Box:
    """Where votes go: onto the disk at once, to the Hub every `minutes`, with what an earlier page left in `folder`."""

    def __init__(self, org: str, minutes: float, folder: Path) -> None:
        self.minutes = minutes
        self._repo, self._folder = f"{org}/{VOTES}", folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{uuid.uuid4().hex}.jsonl"  # one for each start: no two pages write into the same
        self._published: dict[Path, int] = {}  # bytes
        self._writing, self._publishing = threading.Lock(), threading.Lock()
        atexit.register(self._publish)
        threading.Thread(target=self._publish_always, daemon=True).start()

    def put(self, row: Row) -> None:
        """Keep a vote, whatever happens to this process; OSError where the disk does not take it."""
        with self._writing, self._file.open("ab") as out:
            out.write(json.dumps(row).encode() + b"\n")
            out.flush()
            os.fsync(out.fileno())

    def waiting(self) -> int:
        """How many votes are not yet on the Hub."""
        return sum(data[self._published.get(path, 0) :].count(b"\n") for path, data in self._grown().items())

    def _grown(self) -> dict[Path, bytes]:
        """The files that hold more than the Hub does."""
        with self._writing:
            found = {path: path.read_bytes() for path in sorted(self._folder.glob("*.jsonl"))}
        return {path: data for path, data in found.items() if len(data) > self._published.get(path, 0)}

    def _publish(self) -> None:
        """Commit what has grown; where that fails it stays for the next time."""
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
    """`data` without a last line that was cut by a kill."""
    return data[: data.rfind(b"\n") + 1]


@functools.lru_cache(maxsize=32)
def pairs(artifact: Artifact) -> tuple[Pair, ...]:
    """The judged pairs of one artifact."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in parquet.read_table(artifact.file("data/test-00000-of-00001.parquet")).to_pylist():
        found.setdefault((row["problem_id"], row["persona"]), []).append(row)
    return tuple(
        Pair(*key, rows[0]["question"], {FIRST: rows[0]["first"], SECOND: rows[0]["second"]}, _verdicts(rows))
        for key, rows in found.items()
    )


def _verdicts(rows: Iterable[Row]) -> dict[str, str]:
    """{judge: outcome}: a pair is won by the answer that is preferred wherever it stands; else it is a tie."""
    scores: dict[str, list[float | None]] = {}
    for row in rows:
        sign = 1 if row["order"] == FIRST else -1
        scores.setdefault(row["judge"], []).append(None if row["score"] is None else sign * row["score"])
    return {
        judge: FIRST if min(both) > 0 else SECOND if max(both) < 0 else TIE
        for judge, of in scores.items()
        if len(both := [score for score in of if score is not None]) == 2
    }


@functools.lru_cache(maxsize=4)
def votes(artifact: Artifact) -> tuple[Row, ...]:
    """The rows of the dataset of votes at one commit."""
    names = HfApi().list_repo_files(artifact.repo, repo_type="dataset", revision=artifact.sha)
    lines = [
        line for name in names if name.endswith(".jsonl") for line in artifact.file(name).read_text("utf-8").split("\n")
    ]
    return tuple(json.loads(line) for line in lines if line)


def agreement(board: Board) -> pd.DataFrame:
    """How often people and each judge say the same of a pair; kappa is that beyond chance (Cohen, 1960)."""
    cast = [row for artifact in board.of(VOTES) for row in votes(artifact)]
    said: dict[str, list[tuple[str, str]]] = {}
    known = {a.repo: {(p.problem, p.persona): p.judges for p in pairs(a)} for a in board.of(PREFERENCE)}
    for row in cast:
        for judge, outcome in known.get(row["preference"], {}).get((row["problem_id"], row["persona"]), {}).items():
            said.setdefault(judge, []).append((row["vote"], outcome))
    rows = [[judge, len(both), *_agreed(both)] for judge, both in sorted(said.items())]
    return pd.DataFrame(rows, columns=["judge", "votes", "agreement", "by chance", "kappa"])


def _agreed(both: list[tuple[str, str]]) -> list[float | None]:
    same = sum(vote == outcome for vote, outcome in both) / len(both)
    people, judge = (Counter(side) for side in zip(*both, strict=True))
    chance = sum(people[name] * judge[name] for name in people) / len(both) ** 2
    return [round(same, 3), round(chance, 3), round((same - chance) / (1 - chance), 3) if chance < 1 else None]


@dataclass(frozen=True)
class Arena:
    """Pairs of answers of the published judgements, and votes on them."""

    source: Source
    box: Box

    def draw(self) -> tuple[Row | None, str]:
        """A pair, in an order of its own; the page is told no more than its texts."""
        artifacts = self.source.board().of(PREFERENCE)
        try:
            artifact = random.choice(artifacts)  # noqa: S311
            pair = random.choice(pairs(artifact))  # noqa: S311
        except IndexError:
            return None, shown.sentence("No pairwise judgements are published: permix preference makes them.")
        except (*ABSENT, *UNREADABLE) as error:
            return None, shown.sentence(f"The answers cannot be read ({type(error).__name__}).")
        left, right = random.sample((FIRST, SECOND), 2)
        asked = {"preference": artifact.repo, "revision": artifact.sha, "problem_id": pair.problem}
        asked |= {"persona": pair.persona, "shown": left}
        return asked, shown.blind(pair.persona, pair.question, pair.texts[left], pair.texts[right])

    def vote(self, choice: str, asked: Row | None, request: gr.Request) -> tuple[Row | None, str, str]:
        """Keep the vote and show the next pair."""
        if asked is None:
            return (*self.draw(), shown.announced("There was nothing to vote on."))
        left, right = (FIRST, SECOND) if asked["shown"] == FIRST else (SECOND, FIRST)
        voted = {"Left": left, "Right": right}.get(choice, TIE)
        row = asked | {"vote": voted, "page": str(request.session_hash), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
        try:
            self.box.put(row)
        except OSError as error:
            words = f"The vote could not be kept ({type(error).__name__}): vote again in a minute."
            return asked, gr.skip(), shown.announced(words)
        names = asked["preference"].partition(PREFERENCE)[2].partition("-vs-")
        was = dict(zip((FIRST, SECOND), (names[0], names[2]), strict=True))
        words = f"Thank you. Left was {was[left]}, right was {was[right]}. {self.on_their_way()}"
        return (*self.draw(), shown.announced(words))

    def on_their_way(self) -> str:
        """How many votes are not yet on the Hub."""
        waiting = self.box.waiting()
        votes = "1 vote is" if waiting == 1 else f"{waiting} votes are"
        return f"{votes} kept here and not yet on the Hub: that follows within {self.box.minutes:g} minutes."

    def compared(self) -> pd.DataFrame:
        """The table of people and judges; empty where it cannot be read."""
        try:
            return agreement(self.source.board())
        except (*ABSENT, *UNREADABLE):
            return pd.DataFrame(columns=["judge", "votes", "agreement", "by chance", "kappa"])


def tab(source: Source, box: Box) -> None:
    """The tab's controls and what they do."""
    arena = Arena(source, box)
    with gr.Tab("Arena") as here:
        gr.Markdown(
            "Which answer stays **more in character**? Right or wrong does not count. Votes are published without "
            "anything about you; who wrote what is told after the vote."
        )
        asked = gr.State()
        both = gr.HTML()
        with gr.Row():
            buttons = [gr.Button(name, min_width=90) for name in ("Left", "Tie", "Right")]
        thanks = gr.HTML(shown.announced(""))
        table = gr.Dataframe(label="people and judges", interactive=False)
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "undocumented"}
    here.select(arena.draw, None, [asked, both], api_name="pair", **quiet)
    here.select(arena.compared, None, table, api_name="agreement", **quiet)
    for button in buttons:
        button.click(
            arena.vote, [button, asked], [asked, both, thanks], api_name=f"vote_{button.value.lower()}", **quiet
        )
