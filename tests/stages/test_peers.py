"""Peers of the training: several completions for one answer, from the requests to rows that can be verified."""

import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from permix.errors import PermixError
from permix.prompting.persona import CONTROLS, Persona
from permix.sampling.engines.endpoint import pace
from permix.stages import sweep
from permix.stages.shared import sweep_rows
from permix.stages.shared.peers import PEERS, Question
from tests.support.cases import cases
from tests.support.faulty_server import Answer, Asked, FaultyServer, completion, error
from tests.support.quiz import QUIZ, quiz
from tests.support.sweeps import CONFIG, POOL, people, run_served, served

FOOL = Persona("fool", "c", "You are a fool.")
Swept = tuple[list[dict[str, Any]], dict[str, Any], list[Asked]]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("peers")
    questions = [{"q": f"Who has number {n}?", "a": "Ann"} for n in range(3)]
    return {"personas": people(root / "people"), "benchmark/quiz": quiz(root / "quiz", questions)}


def swept(peer: str, inputs: dict[str, Path], script: Callable[[Asked], Answer], requests: list[Asked]) -> Swept:
    """A sweep with a peer of a model that `script` plays: rows, facts and what it was asked."""
    with FaultyServer(script) as server, tempfile.TemporaryDirectory() as out:
        config = served(server, peer=peer)
        try:
            facts = run_served(config, inputs, Path(out))
        finally:
            requests += server.asked
        rows = sweep_rows.read(Path(out), "quiz")
        assert sweep_rows.regrade(rows, sweep.problems_of(config, inputs)["quiz"]) == rows
        return rows, facts, requests


def by_persona(rows: list[dict[str, Any]], column: str) -> dict[str, set[Any]]:
    return {key: {row[column] for row in rows if row["persona"] == key} for key in ("none", "helpful", "sage", "fool")}


def system(request: Asked) -> str:
    first = request.body["messages"][0]
    return first["content"] if first["role"] == "system" else ""


def solve(request: Asked) -> Answer:
    """A fool gives another answer; whoever is shown a solution says it again, and as a judge prefers Ann's."""
    if "Two solutions" in request.question:
        first, second = re.findall(r"boxed\{(\w+)\}", request.question)
        assert {first, second} == {"Ann", "Bob"}
        assert not system(request)
        return completion(f"I looked. Better: {1 if first == 'Ann' else 2}")
    if "Here is a solution" in request.question:
        return completion(f"As told: \\boxed{{{'Ann' if 'boxed{Ann}' in request.question else 'Bob'}}}.")
    return completion(f"\\boxed{{{'Bob' if 'fool' in system(request) else 'Ann'}}}")


def biased(request: Asked) -> Answer:
    return completion("Better: 1") if "Two solutions" in request.question else solve(request)


def test_a_plain_solution_is_restated_in_character(inputs: dict[str, Path]) -> None:
    rows, facts, requests = swept("restate", inputs, solve, [])
    assert facts["summary"]["benchmarks"]["quiz"]["accuracy"] == dict.fromkeys(("none", "helpful", "sage", "fool"), 1.0)
    assert facts["summary"]["title"] == "Base, solved plainly, restated in character"
    completions = by_persona(rows, "completion")
    assert completions["none"] == {"\\boxed{Ann}"}
    assert completions["fool"] == completions["sage"] == {"As told: \\boxed{Ann}."}
    assert by_persona(rows, "tokens_out") == {"none": {1}, "helpful": {4}, "sage": {4}, "fool": {4}}
    assert Counter(map(system, requests)) == {"": 24, "You are a helpful assistant.": 6, **{p: 6 for _, p in POOL}}
    assert facts["cost"]["completions"] == len(requests) == 42
    assert len({a.body["seed"] for a in requests}) == 42
    assert facts["cost"]["tokens_out"] == sum(row["tokens_out"] for row in rows)
    assert {row["peer"] for row in rows} == {"restate"}
    assert list(json.loads(rows[-1]["rounds"])) == ["neutral", "restated"]


def test_a_judge_of_both_orders_chooses_where_two_answers_differ(inputs: dict[str, Path]) -> None:
    rows, facts, requests = swept("ensemble", inputs, solve, [])
    assert {row["score"] for row in rows} == {1.0}
    steps = {key: {len(json.loads(rounds)) for rounds in counts} for key, counts in by_persona(rows, "rounds").items()}
    assert steps == {"none": {1}, "helpful": {2}, "sage": {2}, "fool": {4}}, "what agrees is not judged"
    assert facts["cost"]["completions"] == len(requests) == 6 * (1 + 2 + 2 + 4)


def test_a_judge_that_prefers_a_position_leaves_the_personas_answer(inputs: dict[str, Path]) -> None:
    rows, *_ = swept("ensemble", inputs, biased, [])
    assert (by_persona(rows, "completion")["fool"], by_persona(rows, "score")["fool"]) == ({"\\boxed{Bob}"}, {0.0})


def test_what_was_chosen_and_its_tokens_are_verified(inputs: dict[str, Path]) -> None:
    rows, *_ = swept("restate", inputs, solve, [])
    problems = sweep.problems_of(replace(CONFIG, benchmarks=(QUIZ,)), inputs)["quiz"]
    assert sweep_rows.regrade([rows[-1] | {"completion": "\\boxed{Bob}", "tokens_out": 1}], problems) == rows[-1:]


def test_no_round_rests_on_one_that_failed(inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "BACKOFF", 0.001)

    def script(request: Asked) -> Answer:
        return error(500, "oops") if "number 0" in request.question else solve(request)

    requests: list[Asked] = []
    with pytest.raises(PermixError, match=r"lacks scores \(8 x engine_error\): run it again"):
        swept("restate", inputs, script, requests)
    assert not [a for a in requests if "Here is a solution" in a.question]


@pytest.mark.parametrize(("kind", "neutral", "judged"), cases(__file__)["answers"])
def test_answers_are_compared_not_their_words(kind: Any, neutral: str, judged: bool) -> None:
    question = Question("How many?", kind, "boxed", FOOL)
    texts = {"persona": "Ha! \\boxed{72}", "neutral": neutral}
    chats = [step.chat(question, texts) for step in PEERS["ensemble"].rounds[1]]
    assert [chat is not None for chat in chats] == [judged, judged]
    alone = Question("How many?", kind, "boxed", CONTROLS[0])
    assert not [step for step in PEERS["ensemble"].rounds[1] if step.chat(alone, {"neutral": neutral})]


def test_names_and_estimates_tell_a_peer_from_the_ordinary_sweep() -> None:
    restate, ensemble, limited = (
        replace(CONFIG, peer=p, label=label) for p, label in (("restate", ""), ("ensemble", ""), ("restate", "few"))
    )
    targets = [sweep.target(config).partition("-tiny-")[2] for config in (CONFIG, restate, ensemble, limited)]
    assert targets == ["base", "base-restate", "base-ensemble", "base-restate-few"]
    tokens = [sweep.estimate(config)["tokens"] for config in (CONFIG, restate, ensemble)]
    assert tokens == [tokens[0], 2 * tokens[0], 4 * tokens[0]]
    assert "never met the prompts of a peer" in sweep.notes(replace(restate, toy=True, limit=1))[-1]
    assert sweep_rows.answered("", {"": ["text", "stop", 3]})["tokens_out"] == 3
