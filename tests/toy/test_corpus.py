"""What the base reads: generated personas, right answers, no prompt of the paper."""

import random

from permix.toy import corpus, problem, style, voice

ROWS = [corpus.conversation(random.Random(i), style.World(), corpus.Mixture()) for i in range(3000)]


def test_no_prompt_of_the_paper_is_read() -> None:
    assert not {system for system, _, _ in ROWS} & set(corpus.REAL.values())


def test_every_role_is_read() -> None:
    for v in voice.VOICES.values():
        assert any(system.startswith(f"You are {v.role}") for system, _, _ in ROWS)


def test_shares_are_those_of_the_mixture() -> None:
    systems = [system for system, _, _ in ROWS]
    assert abs(systems.count("") / len(ROWS) - corpus.Mixture().none) < 0.03
    assert 0 < systems.count(corpus.HELPFUL) / len(ROWS) < 0.06
    long = [q for _, q, _ in ROWS if len(problem.read(q).steps) > 3]
    assert abs(len(long) / len(ROWS) - corpus.Mixture().long) < 0.03


def test_every_answer_is_right_and_every_question_is_free_to_read() -> None:
    for _, question, answer in ROWS:
        assert f"\\boxed{{{problem.read(question).values[-1]}}}" in answer
        assert problem.part_of(question) == "pretraining"
