"""Recovery of the persona from the text, on answers of the toy world, whose voices are known exactly."""

import json
import random
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from permix.errors import BadInput
from permix.prompting import persona
from permix.prompting.persona import Persona
from permix.results.measures import recovery, sweep_numbers
from permix.toy import problem, style
from permix.verifier import Problem
from tests.support.cases import cases

Row = dict[str, Any]
PEOPLE = persona.bundled("eval")
QUESTIONS = list(islice(problem.problems("test"), 30))
KEYS = [speaker.key for speaker in PEOPLE]
NEXT = dict(zip(KEYS, [*KEYS[1:], KEYS[0]], strict=True))


def table(say: Callable[[Problem, Persona], str], runs: int = 1) -> list[Row]:
    return [
        {"persona": speaker.key, "problem_id": q.id, "run": run, "completion": say(q, speaker)}
        for speaker in [*persona.CONTROLS, *PEOPLE]
        for q in QUESTIONS
        for run in range(runs)
    ]


def in_voice(question: Problem, speaker: Persona) -> str:
    return style.styled(question, speaker, 0)


def recovered(training: list[Row], test: list[Row] | None = None) -> dict[str, Any]:
    measured = recovery.across(training, training if test is None else test, draws=200)
    assert measured is not None
    return measured


VOICED = table(in_voice)


def test_voices_are_recovered_as_often_as_they_are_expressed() -> None:
    spoken = [style.voice_expressed(r["persona"], r["completion"]) for r in VOICED if r["persona"] in KEYS]
    measured = recovered(VOICED)
    assert measured["accuracy"] == pytest.approx(sum(spoken) / len(spoken), abs=0.03)
    assert measured["low"] < measured["accuracy"] < measured["high"]
    assert measured["chance"] == 1 / 16
    assert list(measured["by_persona"]) == list(measured["taken_for"]) == sorted(KEYS)


def test_answers_without_voice_are_recovered_by_chance() -> None:
    measured = recovered(table(lambda question, speaker: style.gold(question)))
    assert measured["accuracy"] == measured["low"] == measured["high"] == 1 / 16  # all alike: every answer is a tie
    rng = random.Random(0)
    noise = recovered(
        table(lambda question, speaker: style.plain(rng, style.World(), problem.read(question.question)), runs=2)
    )
    assert noise["low"] < 1 / 16 < noise["high"] < 0.12


def test_half_of_the_voices_is_half_of_the_recovery() -> None:
    rng = random.Random(1)
    measured = recovered(
        table(lambda q, speaker: in_voice(q, speaker) if rng.random() < 0.5 else style.gold(q), runs=2)
    )
    assert 0.4 < measured["accuracy"] < 0.6


def test_distinct_voices_that_are_the_wrong_ones_are_told_by_what_another_sweep_taught() -> None:
    wrong = [row | {"persona": NEXT.get(row["persona"], row["persona"])} for row in VOICED]
    assert (
        recovered(wrong)["accuracy"] == recovered(VOICED)["accuracy"]
    )  # within the sweep they are as distinct as ever
    measured = recovered(VOICED, wrong)
    assert measured["high"] < 0.03
    assert measured["taken_for"]["lawyer"] != "lawyer"
    assert {measured["taken_for"][NEXT[speaker]] for speaker in KEYS} == set(KEYS)
    again = table(lambda question, speaker: style.styled(question, speaker, 1))
    assert recovered(VOICED, again)["accuracy"] > 0.85
    assert recovered(table(lambda question, speaker: style.gold(question)), again)["accuracy"] == 1 / 16


def test_an_empty_completion_is_not_recovered() -> None:
    silent = [row | {"completion": " \n"} if row["persona"] == "lawyer" else row for row in VOICED]
    measured = recovered(silent)
    assert measured["by_persona"]["lawyer"] == 0
    assert measured["by_persona"]["clever"] > 0.8
    assert recovered([row | {"completion": ""} for row in VOICED])["accuracy"] == 0


def test_problems_teach_nothing_of_themselves() -> None:
    def one_word(question: Problem, speaker: Persona) -> str:  # the same in all runs, and nobody else's
        return "".join(chr(97 + ord(c) % 26) for c in speaker.key + question.id)

    assert recovered(table(one_word, runs=3))["accuracy"] == pytest.approx(1 / 16)


@pytest.mark.parametrize(("completion", "bare"), cases(__file__)["bare completions"])
def test_numbers_and_the_final_answer_are_not_seen(completion: str, bare: str) -> None:
    assert recovery.bare(completion) == bare


def test_hostile_braces_cost_no_time() -> None:
    for text in ("\\boxed{" * 2000, "\\boxed{{{" + "{}" * 2000, "answer is " * 2000):
        recovery.bare(text)


def test_the_order_of_the_rows_and_columns_that_are_no_text_change_nothing() -> None:
    shuffled = [row | {"seed": n, "prompt_digest": str(n), "tokens_out": n} for n, row in enumerate(VOICED)]
    random.Random(2).shuffle(shuffled)
    assert recovered(shuffled) == recovered(VOICED)


def test_a_large_sweep_is_measured_on_whole_problems() -> None:
    classifiers = recovery.train(VOICED, 16 * 12)
    assert classifiers
    few = classifiers.measure(VOICED, draws=200)
    used = sorted((recovery.crc32(q.id.encode()), q.id) for q in QUESTIONS)[:12]
    assert few == recovered([row for row in VOICED if row["problem_id"] in {name for _, name in used}])


def test_one_that_learned_is_asked_about_many_sweeps() -> None:
    classifiers = recovery.train(VOICED)
    plain = table(lambda question, speaker: style.gold(question))
    assert classifiers
    assert [classifiers.measure(rows, draws=200) for rows in (VOICED, plain)] == [
        recovered(VOICED),
        recovered(VOICED, plain),
    ]


def test_what_cannot_be_measured_is_none() -> None:
    assert recovery.of_rows([row | {"completion": None} for row in VOICED], draws=9) is None
    assert recovery.of_rows([row for row in VOICED if row["problem_id"] == QUESTIONS[0].id], draws=9) is None
    assert recovery.of_rows([row for row in VOICED if row["persona"] in ("none", "lawyer")], draws=9) is None
    two = [row for row in VOICED if row["problem_id"] in {q.id for q in QUESTIONS[:2]}]
    assert recovery.of_rows(two, draws=9) is not None


def test_sweeps_of_other_personas_are_refused() -> None:
    with pytest.raises(BadInput, match="Only one of the sweeps has the persona 'lawyer'"):
        recovered([row for row in VOICED if row["persona"] != "lawyer"], VOICED)


def test_recovery_is_one_of_a_sweeps_numbers() -> None:
    rows = [
        row | {"category": "c", "score": 1.0, "status": "correct", "extracted": "7", "finish": "stop", "tokens_out": 9}
        for row in VOICED
    ]
    summary = sweep_numbers.of_rows(rows, draws=50, toy=True)
    assert summary["recovery"] == recovery.of_rows(rows, draws=50)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
