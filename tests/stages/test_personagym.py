"""A variant's answers and the judges' scores of them: a tiny model and two scripted judges over real HTTP."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from permix.errors import BadInput, PermixError
from permix.judging import calibration, checks
from permix.pipeline import plan as chain
from permix.pipeline import recipes
from permix.results.measures import fidelity
from permix.stages import personagym, questions
from tests.support import judges
from tests.support.cases import cases
from tests.support.faulty_server import Answer, Asked, FaultyServer, Script, completion, error
from tests.support.judges import parts_in, says, scripted, serve_judges
from tests.support.models import make_tiny_model

pytestmark = pytest.mark.usefixtures("hurry")

SERVED = {name: {"model": f"{name}-model", "url": "http://127.0.0.1:9/v1"} for name in ("w", "one", "two")}
TOML: dict[str, Any] = {
    "name": "own", "benchmarks": ["arithmetic"], "questions": {"model": "w"},
    "personagym": {"judges": ["one", "two"], "max_tokens": 8}, "model": SERVED,
}  # fmt: skip
Made = tuple[dict[str, Any], list[dict[str, Any]], FaultyServer]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model and two questions to each of three personas."""
    folder = tmp_path_factory.mktemp("inputs")
    make_tiny_model(folder / "base")
    table = [
        {
            "persona": persona, "task": task, "question": f"What does {persona} do?",
            "system_prompt": f"You are {persona}.",
        }
        for persona in ("a nurse", "a cook", "a lawyer")
        for task in ("Persona Consistency", "Linguistic Habits")
    ]  # fmt: skip
    (folder / "rows").mkdir()
    (folder / "rows" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    own = {"dataset": "me/q", "examples": False, "written_by": "gpt-5-mini"}
    (config,) = questions.configs(recipes.parse({**TOML, "questions": own}, "own.toml"))
    with parts_in(folder) as parts:
        questions.run(config, {"questions": folder / "rows"}, folder / "questions", context=parts)
    return {"base": folder / "base", "questions": folder / "questions"}


def config_of(**settings: Any) -> personagym.Config:
    config = personagym.configs(recipes.parse(TOML, "own.toml"))[0]
    return replace(config, **settings)


@pytest.fixture
def run_stage(inputs: dict[str, Path], tmp_path: Path) -> Callable[..., Made]:
    def run(*scripts: Script, at: str = "work", **settings: Any) -> Made:
        with (
            serve_judges(*(scripts * 2)[: max(len(scripts), 2)]) as (servers, models),
            parts_in(tmp_path / at) as parts,
        ):
            config = config_of(judge_models=models, **settings)
            facts = personagym.run(config, inputs, tmp_path / at / "out", context=parts)
        return facts, personagym.read(tmp_path / at / "out"), servers[0]

    return run


def test_every_answer_is_scored_by_every_judge(run_stage: Callable[..., Made]) -> None:
    facts, rows, server = run_stage(scripted())
    assert [(row["judge"], row["question_id"]) for row in rows] == [
        (name, f"{persona}|{task}|0")
        for name in ("one", "two")
        for persona in ("a nurse", "a cook", "a lawyer")
        for task in ("persona_consistency", "linguistic_habits")
    ]
    for row in rows:
        assert (row["score"], row["status"], row["retries"]) == (judges.usual(row), "scored", 0)
        assert (row["model"], row["question_writer"]) == ("scripted-1", "gpt-5-mini")
        assert len(row["raw"]) == 1
        assert row["finish"] in ("stop", "length")
        assert 0 < row["tokens_out"] <= 8
        assert row["base_dtype"] == "float32"
    assert (facts["rows"], facts["summary"]["score"]["scored"]) == (12, 6)
    assert (facts["summary"]["agreement"]["one, two"]["equal"], facts["cost"]["api_calls"]) == (1, 2 * (6 + 30))
    assert facts["cost"]["completions"] == 6
    assert facts["cost"]["USD"] > 0
    assert len(server.asked) == 36
    assert {a.body["temperature"] for a in server.asked} == {0.0}


def test_the_judge_sees_the_persona_the_question_the_answer_and_the_rubric(run_stage: Callable[..., Made]) -> None:
    _, rows, server = run_stage(scripted(), calibrate=False)
    by_question = {judges.parts(a)["question"]: a for a in server.asked if "lawyer" in a.question}
    shown = judges.parts(by_question["What does a lawyer do?"])
    assert shown["persona"] == "You are a lawyer."
    assert shown["answer"] in {row["answer"] for row in rows}
    systems = {a.body["messages"][0]["content"] for a in server.asked}
    assert len(systems) == 2
    assert any("Linguistic Habits:" in text for text in systems)


def test_all_numbers_follow_from_the_stored_raw_replies(run_stage: Callable[..., Made], tmp_path: Path) -> None:
    def script(request: Asked) -> Answer:
        prose = judges.parts(request)["question"] == "What does a cook do?"
        return completion("Five!") if prose else scripted()(request)

    facts, rows, _ = run_stage(script)
    stored, anew, summary = personagym.replay(vars(config_of()), tmp_path / "work" / "out", {})
    assert (stored, summary) == (anew, facts["summary"])
    assert len(stored["calibration"]) == 60
    assert json.loads((tmp_path / "work" / "out" / "summary.json").read_text()) == summary
    assert fidelity.of_scores(rows, ())["judges"]["one"]["missing"] == 2


def test_an_interrupted_run_goes_on_without_asking_twice(run_stage: Callable[..., Made], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="refuses requests without a key"):
        run_stage(scripted(), lambda _: error(401, "no key"))
    answers = (tmp_path / "work" / "answers.jsonl").read_bytes()
    facts, rows, first = run_stage(scripted())
    assert first.asked == []
    assert (tmp_path / "work" / "answers.jsonl").read_bytes() == answers
    undisturbed, same, _ = run_stage(scripted(), at="other")
    assert rows == same
    assert facts["summary"] == undisturbed["summary"]


def test_a_judge_that_is_not_there_is_said_before_anything_is_sampled(inputs: dict[str, Path], tmp_path: Path) -> None:
    with parts_in(tmp_path) as parts, pytest.raises(BadInput, match=r"http://127.0.0.1:9/v1 does not answer"):
        personagym.run(config_of(), inputs, tmp_path / "out", context=parts)
    assert not (tmp_path / "answers.jsonl").exists()


def test_a_judge_that_only_talks_is_missing_and_the_other_one_counts(run_stage: Callable[..., Made]) -> None:
    facts, rows, _ = run_stage(scripted(), lambda _: completion("Lovely answer, a clear 5!"))
    summary = facts["summary"]
    assert (summary["judges"]["two"]["missing"], summary["judges"]["two"]["mean"]) == (6, None)
    assert (summary["judges"]["two"]["statuses"], summary["judges"]["two"]["retries"]) == ({"no_json": 6}, 12)
    assert (summary["score"]["mean"], summary["agreement"]) == (summary["judges"]["one"]["mean"], {})
    assert summary["independent"]["judges"] == ["one"]  # scripted-1 is nobody's
    assert {row["score"] for row in rows if row["judge"] == "two"} == {None}


def test_judges_that_all_say_nothing_publish_nothing(run_stage: Callable[..., Made]) -> None:
    with pytest.raises(PermixError, match=r"No judge gave a score \(12 x no_json\)"):
        run_stage(lambda _: completion("Hm."), calibrate=False, retries=0)


def test_a_server_that_goes_down_is_recorded_in_one_sentence(run_stage: Callable[..., Made]) -> None:
    facts, rows, _ = run_stage(scripted(), lambda _: error(500, "on fire"))
    assert list(facts["trouble"]) == ["two"]
    assert "requests in a row failed" in facts["trouble"]["two"]
    assert {row["status"] for row in rows if row["judge"] == "two"} <= {"failed", "not_asked"}
    assert facts["summary"]["judges"]["one"]["missing"] == 0


def test_a_budget_is_for_all_judges_together(run_stage: Callable[..., Made]) -> None:
    """A judgement costs 400 tokens of 1 USD a million, and may cost 6,500: the first judge's 6 leave room for few."""

    def wordy(request: Asked) -> Answer:
        return says({"reason": "so it seems " * 133, "score": 3})

    facts, rows, _ = run_stage(wordy, calibrate=False, budget=0.0095)
    assert list(facts["trouble"]) == ["two"]
    assert "The budget of" in facts["trouble"]["two"]
    statuses = {name: {row["status"] for row in rows if row["judge"] == name} for name in ("one", "two")}
    assert statuses == {"one": {"scored"}, "two": {"scored", "not_asked"}}
    assert 0.0024 < facts["cost"]["USD"] <= 0.0095


def obedient(request: Asked) -> Answer:
    """A judge that does what an answer tells it."""
    shown = judges.parts(request)
    return says({"score": 5 if '"score": 5' in shown.get("answer", "") else judges.usual(shown)})


def test_a_judge_that_obeys_an_answer_fails_its_examination(run_stage: Callable[..., Made]) -> None:
    facts, _, _ = run_stage(scripted(), obedient)
    good, bad = (facts["summary"]["calibration"][name] for name in ("one", "two"))
    assert good["passed"]
    assert good["means"]["injecting"] == 1
    assert not bad["passed"]
    assert "injecting above out_of_character" in bad["wrong"]


def swayed(request: Asked) -> Answer:
    """A judge that likes length: two points more for an answer of two parts."""
    shown = judges.parts(request)
    return says({"score": min(5, judges.usual(shown | {"answer": "x"}) + 2 * ("\n\n" in shown["answer"]))})


def test_a_judge_that_follows_length_is_found_out(run_stage: Callable[..., Made], tmp_path: Path) -> None:
    facts, _, server = run_stage(swayed, lambda _: says({"score": 3}), calibrate=False, checks=4)
    first, second = (facts["summary"]["checks"][name] for name in ("one", "two"))
    assert set(first) == {"repeated", "said_twice"}  # these questions have no examples to show backwards
    assert (first["repeated"]["mean"], first["repeated"]["equal"], first["said_twice"]["equal"]) == (0, 1, 0)
    assert first["said_twice"]["mean"] > 0
    assert (second["said_twice"]["mean"], second["said_twice"]["questions"]) == (0, 4)
    assert len(server.asked) == 6 + 2 * 4
    stored, anew, summary = personagym.replay(vars(config_of()), tmp_path / "work" / "out", {})
    assert (stored, summary) == (anew, facts["summary"])
    assert len(stored["checks"]) == 16


def test_the_examples_of_the_scores_can_be_shown_backwards() -> None:
    row = {"question_id": "q", "persona": "p", "description": "d", "task": "linguistic_habits", "question": "?"}
    rows, items = checks.chosen({"q": row | {"examples": ["bad", "b", "c", "d", "good"]}}, {"q": "Hm."}, 1)
    shown = {rows[item.id]["check"]: item.messages[1]["content"] for item in items}
    assert shown["repeated"].index("bad") < shown["repeated"].index("good")
    assert shown["examples_backwards"].index("good") < shown["examples_backwards"].index("bad")
    assert "Hm.\n\nHm." in shown["said_twice"]
    assert len(items) == len(checks.CHECKS)


def test_a_third_judge_scores_what_two_see_differently(run_stage: Callable[..., Made], tmp_path: Path) -> None:
    def strict(request: Asked) -> Answer:
        return says({"score": 1 if "a cook" in judges.parts(request)["persona"] else 4})

    third = {"calibrate": False, "tiebreaker": "three"}
    facts, rows, _ = run_stage(lambda _: says({"score": 4}), strict, lambda _: says({"score": 3}), **third)
    settled_ids = [row["question_id"] for row in rows if row["judge"] == "three"]
    assert settled_ids == ["a cook|persona_consistency|0", "a cook|linguistic_habits|0"]
    numbers = facts["summary"]
    assert numbers["settled"]["mean"] == pytest.approx((4 + 3 + 4) / 3)
    assert numbers["score"]["mean"] == pytest.approx(3.5)
    assert facts["cost"]["api_calls"] == 6 + 6 + 2
    stored, anew, summary = personagym.replay(vars(config_of(**third, judge_models=())), tmp_path / "work" / "out", {})
    assert (stored, summary) == (anew, numbers)
    same, *_ = run_stage(*[lambda _: says({"score": 4})] * 3, at="agreed", **third)
    assert (same["summary"]["settled"]["asked"], same["cost"]["api_calls"]) == (0, 12)


def test_a_served_models_answers_are_paid_beside_the_judges(run_stage: Callable[..., Made], tmp_path: Path) -> None:
    with serve_judges(scripted()) as (_, (model,)):
        facts, *_ = run_stage(scripted(), at="served", model=replace(model, price_out=1e6), dtype="", calibrate=False)
    cost = facts["cost"]
    assert cost["completions"] == 6
    assert cost["tokens_in"] > 0
    assert cost["USD"] == pytest.approx(
        cost["tokens_out"] + (cost["tokens_in"] + cost["api_tokens_in"] + cost["api_tokens_out"]) / 1e6, abs=1e-5
    )


def test_the_recipe_asks_for_it_by_a_table() -> None:
    assert personagym.configs(recipes.load("toy")) == []
    first, *others = personagym.configs(recipes.parse(TOML | {"sweep": {"dtype": "bfloat16", "runs": 2}}, "own.toml"))
    assert personagym.target(first) == "datasets/permix/permix-personagym-permix-toy-base"
    questions_repo = "datasets/permix/permix-personagym-questions"
    assert personagym.inputs(first) == {"base": "permix/permix-toy-base", "questions": questions_repo}
    assert [config.variant for config in others] == ["rlvr", "permix-rlvr"]
    assert personagym.inputs(others[0])["adapter"] == "permix/permix-toy-rlvr"
    assert first.dtype == "bfloat16"
    assert len({personagym.STAGE.group(c) for c in (first, *others)}) == 1
    assert (first.temperature, first.top_p) == (0.9, 0.9)


def test_an_estimate_comes_before_anything_is_spent() -> None:
    config = config_of(calibrate=False)
    assert personagym.estimate(config) == {"completions": 800, "calls": 1600, "tokens": 800 * 8 + 1600 * 4096}
    assert personagym.expected(config) == {"completions": 800, "calls": 1600, "tokens": 800 * 8 + 1600 * 400}
    priced = replace(config, judge_models=tuple(replace(m, price_in=1.0, price_out=2.0) for m in config.judge_models))
    assert personagym.estimate(priced)["USD"] == pytest.approx(1600 * (1300 + 2 * 4096) / 1e6)
    assert personagym.expected(priced)["USD"] == pytest.approx(1600 * (1300 + 2 * 400) / 1e6)
    assert personagym.estimate(config_of())["calls"] == 1600 + 2 * len(calibration.rows())


def test_who_wrote_the_training_targets_is_known() -> None:
    text = TOML | {"variants": ["base", "permix-sft-styled", "seqkd-gemma3-27b", "seqkd-toy"]}
    written = {c.variant: c.text_writers for c in personagym.configs(recipes.parse(text, "own.toml"))}
    assert (written["permix-sft-styled"], written["seqkd-gemma3-27b"]) == (("gpt-5-mini",), ("google/gemma-3-27b-it",))
    assert written["base"] == written["seqkd-toy"] == ()
    others = recipes.parse(text | {"questions": {"dataset": "me/q", "model": "w"}}, "own.toml")
    assert personagym.configs(others)[0].text_writers == ("w-model",)  # who wrote the examples of the scores


@pytest.mark.parametrize(("table", "sentence"), cases(__file__)["refusals"])
def test_settings_that_make_no_sense_are_refused(table: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        personagym.configs(recipes.parse(TOML | {"personagym": table}, "own.toml"))


def test_a_missing_key_is_said_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    plan = recipes.parse({"name": "own", "benchmarks": ["arithmetic"], "personagym": {}}, "own.toml")
    steps = [step for step in chain.build(plan) if step.stage.name in ("questions", "personagym")]
    assert [step.config.judges for step in steps[1:2]] == [("gpt-5-mini", "deepseek-v3.2")]  # type: ignore[attr-defined]
    for step in steps:
        with pytest.raises(BadInput, match=r"OPENAI_API_KEY is not set, and gpt-5-mini at https://"):
            chain.check_packages([step])
