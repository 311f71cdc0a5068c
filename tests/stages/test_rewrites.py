"""Rewrites keep the answer: by the toy world's generator, and by a scripted server that does as it likes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from permix import benchmarks
from permix.errors import BadInput, PermixError
from permix.experiment.models import Model
from permix.pipeline import recipes
from permix.prompting import persona, prompts
from permix.stages import rewrites
from permix.stages.shared import written_targets
from permix.toy import style
from permix.verifier import Problem
from tests.support.faulty_server import Answer, Asked, FaultyServer, completion
from tests.support.judges import parts_in
from tests.support.quiz import QUIZ, quiz

pytestmark = pytest.mark.usefixtures("hurry")

PLAN = recipes.load("toy-full", ["task.limit=6"])
PROBLEMS = benchmarks.load(PLAN.task, None)
PERSONAS = Path(__file__).parents[2] / "personas"


def config_of(**settings: Any) -> rewrites.Config:
    (config,) = rewrites.configs(PLAN)
    return replace(config, **settings)


def rewrite(config: rewrites.Config, work: Path, **inputs: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    with parts_in(work) as parts:
        facts = rewrites.run(config, {"personas": PERSONAS, **inputs}, work / "out", context=parts)
        return facts, parquet.read_table(work / "out" / "data" / "train-00000-of-00001.parquet").to_pylist()


def served(server: FaultyServer, **settings: Any) -> rewrites.Config:
    writer = Model(name="wise", model="good-model", url=server.url, price_in=1.0, price_out=10.0)
    return config_of(model="wise", writer=writer, **settings)


def script(answer: Callable[[Problem, int], str | Answer]) -> Callable[[Asked], Answer]:
    """What the server says to the n-th prompt for a problem."""

    def reply(request: Asked) -> Answer:
        messages = request.body["messages"]
        problem = next(p for p in PROBLEMS if p.question in messages[0]["content"])
        text = answer(problem, len(messages) // 2)
        return text if isinstance(text, Answer) else completion(text)

    return reply


def test_the_toy_world_writes_in_the_voice_of_the_persona_drawn(tmp_path: Path) -> None:
    facts, rows = rewrite(config_of(task=replace(PLAN.task, limit=200)), tmp_path)
    assert list(rows[0]) == list(written_targets.COLUMNS)
    assert len(rows) == facts["rows"] == 200
    for row in rows:
        member = persona.draw(persona.bundled("train"), 0, row["problem_id"])
        assert (row["persona"], row["status"]) == (member.key, "correct")
        assert row["messages"] == prompts.messages(row["question"], member, "plain")
        assert row["model"] == "permix.toy.style"
    assert sum(style.voice_expressed(row["persona"], row["completion"]) for row in rows) > 180
    assert facts["left_out"] == {}
    assert "USD" not in facts["cost"]
    assert rewrites.estimate(config_of()) == {}


def test_a_rewrite_is_asked_for_with_persona_problem_and_solution(tmp_path: Path) -> None:
    with FaultyServer(script(lambda p, _: f"Ahoy! {p.rationale}")) as server:
        facts, rows = rewrite(served(server), tmp_path)
    assert [r["completion"] for r in rows] == [f"Ahoy! {p.rationale}" for p in PROBLEMS]
    member = persona.draw(persona.bundled("train"), 0, PROBLEMS[0].id)
    chat = prompts.rewriting(PROBLEMS[0].question, PROBLEMS[0].rationale, member)
    assert chat in [request.body["messages"] for request in server.asked]
    assert len(server.asked) == 6
    assert (rows[0]["model"], rows[0]["revision"]) == ("good-model", "good-model-0301")
    assert facts["cost"]["USD"] == pytest.approx((60 * 1 + facts["cost"]["tokens_out"] * 10) / 1e6)
    assert facts["prompts"]["rewrite"].startswith("Rewrite the solution")
    assert facts["rejected"] == {}


def test_what_is_rejected_is_asked_for_again_with_the_reason_and_counted(tmp_path: Path) -> None:
    bad: dict[str, list[str | Answer]] = {
        PROBLEMS[0].id: ["Ahoy! \\boxed{-1}."], PROBLEMS[1].id: ["Ahoy there!", "Ahoy \\boxed{-1}"],
        PROBLEMS[2].id: [f"{PROBLEMS[2].rationale} "], PROBLEMS[3].id: [completion("Ahoy, and so", "length")] * 3,
    }  # fmt: skip

    def answer(problem: Problem, round: int) -> str | Answer:
        wrong = bad.get(problem.id, [])
        return wrong[round] if round < len(wrong) else f"Ahoy! {problem.rationale}"

    with FaultyServer(script(answer)) as server:
        facts, rows = rewrite(served(server), tmp_path)
    assert [r["problem_id"] for r in rows] == [p.id for p in PROBLEMS if p is not PROBLEMS[3]]
    assert all(r["status"] == "correct" and r["completion"].startswith("Ahoy! ") for r in rows)
    assert facts["rejected"] == {"cut": 3, "no_answer": 1, "unchanged": 1, "wrong": 2}
    assert (facts["left_out"], facts["rows"]) == ({"cut": 1}, 5)
    assert len(server.asked) == 6 + 4 + 2
    last = max((a.body["messages"] for a in server.asked if PROBLEMS[1].question in str(a.body)), key=len)
    assert [m["role"] for m in last] == ["user", "assistant", "user", "assistant", "user"]
    assert last[2]["content"].startswith("Your text does not end in the final answer inside \\boxed{}.")
    assert last[4]["content"].startswith("Your text ends in another final answer")
    assert PROBLEMS[1].gold in last[4]["content"]


def test_without_verification_everything_is_kept_and_asked_for_once(tmp_path: Path) -> None:
    with FaultyServer(script(lambda p, _: "Ahoy there!")) as server:
        facts, rows = rewrite(served(server, verify=False), tmp_path)
    assert len(server.asked) == len(rows) == 6
    assert (facts["statuses"], facts["rejected"]) == ({"no_answer": 6}, {})


def test_nothing_kept_is_an_error_that_counts_the_reasons(tmp_path: Path) -> None:
    sentence = r"No rewrite of wise was kept \(18 x no_answer\)"
    with FaultyServer(script(lambda p, _: "Ahoy there!")) as server, pytest.raises(PermixError, match=sentence):
        rewrite(served(server), tmp_path)


def test_a_rewrite_that_is_there_is_not_paid_for_twice(tmp_path: Path) -> None:
    def angry(problem: Problem, round: int) -> str | Answer:
        if round == 1:
            return Answer(401, {"error": {"message": "no such key"}})
        return "Ahoy there!" if problem is PROBLEMS[0] else f"Ahoy! {problem.rationale}"

    with FaultyServer(script(angry)) as server:
        config = served(server)
        with pytest.raises(PermixError):
            rewrite(config, tmp_path)
    with FaultyServer(script(lambda p, _: f"Ahoy! {p.rationale}")) as second:
        writer = replace(config.writer, url=second.url)  # type: ignore[type-var]
        facts, rows = rewrite(replace(config, writer=writer), tmp_path)
    assert (len(second.asked), len(second.asked[0].body["messages"])) == (1, 3)
    assert len(rows) == 6
    assert facts["rejected"] == {"no_answer": 1}


def test_a_problem_without_rationale_is_found_before_anything_is_paid_for(tmp_path: Path) -> None:
    folder = quiz(tmp_path / "quiz", split="train")
    config = config_of(task=replace(QUIZ, split="train"))
    with pytest.raises(BadInput, match=r"quiz/train/0 has no gold rationale to rewrite: set rationale= of \[task\]"):
        rewrites.check(config, {"task": folder})


def test_the_rewriter_is_the_papers_unless_the_recipe_names_another() -> None:
    sft = ['variants=["permix-sft-styled"]', "seeds=[2]"]
    (paper,) = rewrites.configs(recipes.load("toy", [*sft, "model.gpt-5-mini.price_out=2.0"]))
    assert paper.writer
    assert paper.writer.model == "gpt-5-mini"
    assert list(rewrites.inputs(paper)) == ["personas"]
    assert rewrites.target(paper) == "datasets/permix/permix-arithmetic-styled-seed2"
    assert rewrites.estimate(paper)["USD"] == pytest.approx(400 * 4096 * 2 / 1e6)
    with pytest.raises(BadInput, match="no model 'gtp-5-mini': did you mean 'gpt-5-mini'"):
        rewrites.configs(recipes.load("toy", [*sft, "rewrites.model=gtp-5-mini"]))
    with pytest.raises(BadInput, match=r"\[rewrites\] retries is -1: it should be 0 or more"):
        rewrites.configs(recipes.load("toy-full", ["rewrites.retries=-1"]))
    assert rewrites.configs(recipes.load("toy")) == []
