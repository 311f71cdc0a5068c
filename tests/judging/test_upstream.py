"""Upstream's procedure from the first setting to the last score, by models scripted to reply as its prompts ask."""

import ast
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from permix import files
from permix.errors import BadInput
from permix.judging import procedure, upstream, upstream_replies
from permix.judging.structured import Misfit
from permix.pipeline import recipes
from permix.stages import personagym, questions
from tests.support.cases import cases
from tests.support.faulty_server import Answer, Asked, Script, completion
from tests.support.judges import parts_in, serve_judges
from tests.support.models import make_tiny_model

pytestmark = pytest.mark.usefixtures("hurry")

PROMPTS = {
    "select_settings": "Choose of {settings_list} for {persona}.",
    "generate_questions": "Ask {persona} in {settings} {num_questions} times about {task}: {description}",
    "agent_system": "Be {persona}.",
    "example": "Example of {question} to {persona} by [{rubric}]",
    "examples": "All examples: {rubrics}",
    "judge_system": "Judge fairly.",
    "grading": "Grade: {rubrics}",
    "requirements": json.dumps(dict.fromkeys(upstream.NAMES.values(), "hard ones")),
    "settings": '["Wedding", "Courtroom"]',
}
RUBRIC = "<rubric>{score_example}|{persona}|{question}|{response}</rubric>"
SERVED = {name: {"model": f"{name}-model", "url": "http://127.0.0.1:9/v1"} for name in ("w", "one", "two")}
TOML: dict[str, Any] = {
    "name": "own",
    "benchmarks": ["arithmetic"],
    "questions": {"model": "w", "per_task": 6},
    "personagym": {"judges": ["one", "two"], "max_tokens": 8, "upstream": "vsamuel2003/PersonaGym"},
    "model": SERVED,
}
Made = tuple[dict[str, Any], list[dict[str, Any]], list[Asked]]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """A folder laid out as upstream's, with texts of our own."""
    texts = {path: PROMPTS[name] for name, (path, _) in upstream.FILES.items()}
    texts |= {f"rubrics/{name}.txt": f"{name} {RUBRIC}" for name in upstream.NAMES.values()}
    for path, text in texts.items():
        (tmp_path / "prompts" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "prompts" / path).write_text(text)
    return tmp_path / "prompts"


def writer(request: Asked) -> Answer:
    """Settings, questions or examples, as they are asked for."""
    text = request.question
    if text.startswith("Choose"):
        return completion("```python\n['Courtroom']\n```")
    if match := re.match(r"Ask (.*) in \['Courtroom'\] (\d+) times about (.*):", text):
        return completion(repr([f"{match[3]} {n} of {match[1][:8]}?" for n in range(int(match[2]))]))
    count = text.count("Example of ")
    scores = "\n\n".join(f"Score {s}:  Response - worth {s}" for s in range(1, 6))
    return completion("\n\n".join(f"Rubric {n} Examples:\n{scores} at {n}" for n in range(1, count + 1)))


def grades(score: Callable[[int], str]) -> Script:
    """A judge that says `score` of the number of each rubric."""

    def script(request: Asked) -> Answer:
        count = request.question.count("<rubric>")
        lines = [f"({n}) Evaluation: Fine. Therefore, the final score is {score(n)}." for n in range(1, count + 1)]
        return completion("\n\n".join(lines))

    return script


@pytest.fixture
def questioned(prompts: Path, tmp_path: Path) -> Made:
    """Stage questions by upstream's procedure, for three personas."""
    (tmp_path / "pool").mkdir()
    pool = json.loads((files.PERSONAS / "eval.json").read_text())[:3]
    (tmp_path / "pool" / "eval.json").write_text(json.dumps(pool))
    (config,) = questions.configs(recipes.parse(TOML, "own.toml"))
    assert questions.inputs(config)["upstream"] == "datasets/vsamuel2003/PersonaGym"
    with serve_judges(writer) as (servers, models), parts_in(tmp_path / "written") as parts:
        inputs = {"personas": tmp_path / "pool", "upstream": prompts}
        facts = questions.run(replace(config, writer=models[0]), inputs, tmp_path / "questions", context=parts)
    return facts, questions.read(tmp_path / "questions"), servers[0].asked


@pytest.fixture
def judged(questioned: Made, prompts: Path, tmp_path: Path) -> Callable[..., Made]:
    def run(*scripts: Script) -> Made:
        make_tiny_model(tmp_path / "base")
        config = replace(personagym.configs(recipes.parse(TOML, "own.toml"))[0], calibrate=False)
        assert personagym.inputs(config)["upstream"] == "datasets/vsamuel2003/PersonaGym"
        inputs = {"base": tmp_path / "base", "questions": tmp_path / "questions", "upstream": prompts}
        with serve_judges(*scripts) as (servers, models), parts_in(tmp_path / "work") as parts:
            facts = personagym.run(replace(config, judge_models=models), inputs, tmp_path / "out", context=parts)
        stored, anew, summary = personagym.replay(vars(config), tmp_path / "out", {})
        assert stored == anew
        assert summary == facts["summary"]
        return facts, stored["scores"], servers[0].asked

    return run


def test_settings_come_before_questions_and_examples_go_to_their_own_question(questioned: Made) -> None:
    facts, rows, calls = questioned
    assert len(rows) == 3 * 5 * 6
    assert facts["without_questions"] == facts["without_examples"] == {}
    assert facts["cost"]["api_calls"] == 3 + 15 + 3 * 5 * 2 == len(calls)  # groups of five and of one
    assert {call.body["temperature"] for call in calls[:18]} == {0.9}
    assert {call.body["temperature"] for call in calls[18:]} == {0.0}
    assert (rows[0]["question"], rows[0]["examples"][1]) == ("Expected Action 0 of a mathem?", "worth 2")
    assert [row["examples"][4] for row in rows[:6]] == [f"worth 5 at {n}" for n in (1, 2, 3, 4, 5, 1)]
    assert "{persona}|{question}|{response}" in calls[18].question  # the rubric keeps its placeholders
    assert "not_copied" in facts
    assert len(facts["not_copied"]) == len(upstream.NOT_COPIED)


def test_five_answers_are_judged_at_once_by_every_judge(judged: Callable[..., Made]) -> None:
    facts, rows, calls = judged(grades(lambda n: f"{n}"), grades(lambda _: "**4**"))
    judges = facts["summary"]["judges"]
    assert (judges["one"]["mean"], judges["two"]["mean"]) == (pytest.approx((1 + 2 + 3 + 4 + 5 + 1) / 6), 4)
    assert [row["score"] for row in rows[:6]] == [1, 2, 3, 4, 5, 1]
    assert len(rows) == 2 * 90
    assert facts["cost"]["api_calls"] == 2 * 3 * 5 * 2
    whole = next(call for call in calls if call.question.count("<rubric>") == 5)
    system, user = whole.body["messages"]
    assert system == {"role": "system", "content": "Judge fairly."}
    assert "Score 5: Response - worth 5 at 3|a mathematical expert" in user["content"]
    rubrics = ast.literal_eval(user["content"].removeprefix("Grade: "))
    assert all(row["answer"] in rubric for row, rubric in zip(rows[:5], rubrics, strict=True))


def test_a_score_that_cannot_be_read_is_missing_and_the_others_of_its_group_count(judged: Callable[..., Made]) -> None:
    facts, rows, _ = judged(grades(lambda n: "7" if n == 2 else "3"), grades(lambda _: "5"))
    judge_numbers = facts["summary"]["judges"]["one"]
    assert (judge_numbers["statuses"], judge_numbers["mean"]) == ({"no_score": 15, "scored": 75}, 3)
    assert (rows[1]["score"], rows[1]["status"], len(rows[1]["raw"])) == (None, "no_score", 3)


@pytest.mark.parametrize(("text", "score"), cases(__file__)["final scores"])
def test_a_final_score_is_read_as_it_is_meant(text: str, score: float | None) -> None:
    text = f"(1) Evaluation: A (2) is missing. Therefore, the final score {text}"
    assert upstream_replies.score_at([text], "scored", 0) == (score, "no_score" if score is None else "scored")


@pytest.mark.parametrize(
    "heading",
    ["(1) Evaluation:", "**(1)** Evaluation:", "### (1) **Evaluation**:", "(**1**) *Evaluation:*", "(1) EVALUATION :"],
)
def test_the_last_evaluation_of_a_number_behind_the_reasoning_counts(heading: str) -> None:
    text = (
        f"<think>{heading} The final score is 1.</think>{heading} The final score is 2.\n{heading} No.\nFinal score: 3"
    )
    assert upstream_replies.scores(1).read(text) == [3]
    assert upstream_replies.score_at([f"<think>{heading} The final score is 1."], "scored", 0) == (None, "no_score")


@pytest.mark.parametrize("text", ["<think>['x']</think>['a', 'b']", "```python ['a', 'b'] ```", "\ufeff['a', 'b']\n"])
def test_a_list_is_read_behind_reasoning_and_in_a_fence(text: str) -> None:
    assert upstream_replies.texts(2).read(text) == ["a", "b"]


@pytest.mark.parametrize(
    "text", ["Sure: ['a', 'b']", "['a']", "['a', 2]", "['a', '']", "a, b", "__import__('os')", "[" * 9000]
)
def test_a_list_that_is_none_is_no_list_of_characters(text: str) -> None:
    with pytest.raises(Misfit):
        upstream_replies.texts(2).read(text)


def test_braces_of_an_answer_stay_what_they_are(prompts: Path) -> None:
    way = upstream.Upstream(prompts)
    row = {
        "task": "expected_action",
        "description": "You are a {question}.",
        "question": "{response}",
        "examples": None,
    }
    assert way._rubric(row, "{persona}") == "Expected Action <rubric>|a {question}|{response}|{persona}</rubric>"


def test_prompts_that_are_not_upstreams_are_refused_before_anything_is_paid_for(prompts: Path) -> None:
    (prompts / "rubrics" / "Toxicity.txt").write_text("Is it toxic?")
    with pytest.raises(BadInput, match=r"rubrics/Toxicity.txt of upstream's prompts has no \{persona\}"):
        procedure.of(prompts)
    (prompts / "rubrics" / "Toxicity.txt").unlink()
    with pytest.raises(BadInput, match=r"has no rubrics/Toxicity.txt: it should hold PersonaGym's own"):
        procedure.of(prompts)


def test_upstreams_own_prompts_can_be_read(shared: Path) -> None:
    way = procedure.of(shared / "data" / "vsamuel2003" / "PersonaGym")
    row = {"description": "A 71-year-old retired nurse from Italy"}
    assert way.system_prompt(row).startswith("Adopt the identity of A 71-year-old retired nurse from Italy. Answer")
    assert len(way.prompts()) == len(upstream.FILES) + 5


def test_groups_of_five_are_what_an_estimate_counts() -> None:
    config = personagym.configs(recipes.parse(TOML, "own.toml"))[0]
    assert personagym.estimate(replace(config, calibrate=False))["calls"] == 2 * 16 * 5 * 2
    (asking,) = questions.configs(recipes.parse(TOML, "own.toml"))
    assert questions.estimate(asking)["calls"] == 16 + 80 + 80 * 2
