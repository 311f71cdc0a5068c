"""Scripted judges over real HTTP: each writes questions, examples, scores and verdicts, as permix asks for them.

What it says of an answer is a function of the answer, so that every run of a test gets the same scores.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from permix.experiment.models import Model
from permix.judging import calibration
from permix.sampling import engines
from permix.sampling.sampler import Endpoint, Engine, Sampler
from permix.stage import StageContext
from tests.support.faulty_server import Answer, Asked, FaultyServer, Script, completion

NAMES = ("one", "two", "three")
"""How a recipe's [model.*] calls the judges, in their order."""

GROUPS = {row["answer"]: row["group"] for row in calibration.rows()}
KNOWN = {"in_character": 5, "out_of_character": 2, "swapped": 2, "admits_ai": 1, "empty": 1, "injecting": 1}
Score = Callable[[Mapping[str, str]], Any]


def parts(request: Asked) -> dict[str, str]:
    """What stands between marks in the first question of the chat: {persona, question, answer, …}."""
    text = next(m["content"] for m in request.body["messages"] if m["role"] == "user")
    return {m[1]: m[3] for m in re.finditer(r"<([a-z0-9-]+)-([0-9a-f]{12})>\n(.*?)\n</\1-\2>", text, re.DOTALL)}


def says(reply: Any, **more: Any) -> Answer:
    """A completion that is `reply` as JSON."""
    return completion(json.dumps(reply), model="scripted-1", **more)


def usual(shown: Mapping[str, str]) -> int:
    """5 for an answer in character of the calibration set, less for its others; of an unknown one by its hash."""
    answer = shown["answer"]
    if answer in GROUPS:
        return KNOWN[GROUPS[answer]]
    return 1 + int(hashlib.sha256(answer.encode()).hexdigest(), 16) % 5


def prefers(shown: Mapping[str, str]) -> str:
    """The longer answer; neither of two equally long ones."""
    first, second = len(shown["first"]), len(shown["second"])
    return "first" if first > second else "second" if second > first else "neither"


def scripted(score: Score = usual, better: Score = prefers) -> Script:
    """A script that does whatever permix asks for."""

    def script(request: Asked) -> Answer:
        shown = parts(request)
        if "first" in shown:
            return says({"reason": "so it seems", "better": better(shown)})
        if "answer" in shown:
            return says({"reason": "so it seems", "score": score(shown)})
        text = request.question
        if match := re.match(r"Write (\d+) questions", text):
            mark = hashlib.sha256(text.encode()).hexdigest()[:6]
            return says({"questions": [f"What would you do in case {mark}-{n}?" for n in range(int(match[1]))]})
        return says({str(score): f"An answer worth {score}." for score in range(1, 6)})

    return script


@contextmanager
def parts_in(work: Path) -> Iterator[StageContext]:
    """StageContext with real samplers, closed at the end."""
    with ExitStack() as opened:

        def open_engine(engine: Engine | Endpoint) -> Sampler:
            sampler = engines.open_engine(engine)
            opened.callback(sampler.close)
            return sampler

        yield StageContext(work, {}, {}, lambda *_: None, 1, open_engine)


@contextmanager
def serve_judges(*scripts: Script) -> Iterator[tuple[list[FaultyServer], tuple[Model, ...]]]:
    """A server for each script, and the priced models behind them."""
    with ExitStack() as opened:
        servers = [opened.enter_context(FaultyServer(script)) for script in scripts]
        yield (
            servers,
            tuple(
                Model(name=name, model=f"gpt-{name}", url=server.url, price_in=1.0, price_out=1.0, concurrency=2)
                for name, server in zip(NAMES, servers, strict=False)
            ),
        )
