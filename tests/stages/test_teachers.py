"""Teachers answer every problem, alone and in a persona; a tiny model and a scripted server stand in for large ones."""

import hashlib
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
from permix.stages import base, teachers
from permix.stages.shared import written_targets
from tests.support.cases import cases
from tests.support.faulty_server import Answer, Asked, FaultyServer, completion
from tests.support.judges import parts_in
from tests.support.models import make_tiny_model

pytestmark = pytest.mark.usefixtures("hurry")

PLAN = recipes.load("toy-full", ["task.limit=6", "teachers.max_tokens=8"])
PROBLEMS = benchmarks.load(PLAN.task, None)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    make_tiny_model(folder)
    return folder


def config_of(**settings: Any) -> teachers.Config:
    (config,) = teachers.configs(PLAN)
    return replace(config, **settings)


def teach(config: teachers.Config, work: Path, model: Path | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Facts and {configuration: rows}."""
    with parts_in(work) as parts:
        inputs = {"personas": Path(__file__).parents[2] / "personas"} | ({"model": model} if model else {})
        facts = teachers.run(config, inputs, work / "out", context=parts)
        files = {kind: work / "out" / "data" / kind / "train-00000-of-00001.parquet" for kind in teachers.KINDS}
        return facts, {kind: parquet.read_table(file).to_pylist() for kind, file in files.items()}


def served(server: FaultyServer, **settings: Any) -> teachers.Config:
    return config_of(writer=Model(name="wise", model="good-model", url=server.url), **settings)


def half_right(request: Asked) -> Answer:
    problem = next(p for p in PROBLEMS if p.question == request.body["messages"][-1]["content"])
    return completion(problem.rationale if len(request.body["messages"]) == 1 else "No \\boxed{-1} idea.")


def test_every_problem_is_answered_alone_and_in_the_persona_drawn_for_it(tiny: Path, tmp_path: Path) -> None:
    facts, rows = teach(config_of(), tmp_path, tiny)
    for kind in teachers.KINDS:
        assert list(rows[kind][0]) == list(written_targets.COLUMNS)
        problems = [(p.id, p.question, p.gold) for p in PROBLEMS]
        assert [(r["problem_id"], r["question"], r["gold"]) for r in rows[kind]] == problems
        for row, problem in zip(rows[kind], PROBLEMS, strict=True):
            member = persona.draw(persona.bundled("train"), 0, problem.id) if kind == "persona" else None
            assert row["persona"] == (member.key if member else None)
            assert row["messages"] == prompts.messages(problem.question, member, "plain")
            assert row["finish"] in ("stop", "length")
            assert 0 < row["tokens_out"] <= 8
            assert row["tokens_in"] > 8
            assert (row["model"], row["revision"]) == ("permix/permix-toy-teacher", "")
    assert (facts["rows"], facts["cost"]["completions"], sum(facts["plain"]["statuses"].values())) == (12, 12, 6)
    assert facts["plain"]["left_out"] == 0


def test_it_is_the_same_whether_it_was_disturbed_or_not(tiny: Path, tmp_path: Path) -> None:
    _, rows = teach(config_of(batch_size=4), tmp_path / "whole", tiny)
    teach(config_of(batch_size=4), tmp_path / "cut", tiny)
    journal = tmp_path / "cut" / "completions.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:2]))
    (tmp_path / "cut" / "out").rename(tmp_path / "before")
    assert teach(config_of(batch_size=4), tmp_path / "cut", tiny)[1] == rows
    name = "data/persona/train-00000-of-00001.parquet"
    first, second = ((tmp_path / part / name).read_bytes() for part in ("before", "cut/out"))
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()


def test_a_served_teacher_is_graded_and_named_as_its_server_names_it(tmp_path: Path) -> None:
    with FaultyServer(half_right) as server:
        facts, rows = teach(served(server), tmp_path)
    assert (facts["plain"]["accuracy"], facts["persona"]["accuracy"]) == (1, 0)
    assert {(r["status"], r["extracted"]) for r in rows["persona"]} == {("wrong", "-1")}
    assert {(r["model"], r["revision"]) for r in rows["plain"]} == {("good-model", "good-model-0301")}
    bodies = [request.body for request in server.asked]
    assert {(b["temperature"], b["chat_template_kwargs"]["enable_thinking"]) for b in bodies} == {(0.0, False)}


def test_wrong_answers_stay_unless_they_are_not_wanted(tmp_path: Path) -> None:
    def mostly(request: Asked) -> Answer:
        problem = next(p for p in PROBLEMS if p.question == request.body["messages"][-1]["content"])
        return completion("\\boxed{-1}" if problem is PROBLEMS[0] else problem.rationale)

    with FaultyServer(mostly) as server:
        assert teach(served(server), tmp_path / "all")[0]["rows"] == 12
        facts, rows = teach(served(server, keep_wrong=False), tmp_path / "right")
    assert facts["plain"] | {"statuses": 0} == {"rows": 5, "left_out": 1, "accuracy": 5 / 6, "cut": 0, "statuses": 0}
    assert [r["problem_id"] for r in rows["persona"]] == [p.id for p in PROBLEMS[1:]]


def test_a_teacher_that_is_never_right_leaves_nothing_to_learn(tmp_path: Path) -> None:
    sentence = "toy answered no problem right: set keep_wrong"
    with FaultyServer(lambda _: completion("\\boxed{-1}")) as server, pytest.raises(PermixError, match=sentence):
        teach(served(server, keep_wrong=False), tmp_path)


def test_a_template_that_refuses_a_system_message_is_said_before_anything_is_sampled(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "model")
    page = tmp_path / "model" / "chat_template.jinja"
    page.write_text(
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        + page.read_text()
    )
    with pytest.raises(BadInput, match="System role not supported"):
        teach(config_of(), tmp_path, tmp_path / "model")
    assert not (tmp_path / "out").exists()


def test_one_artifact_for_each_teacher_that_a_variant_learns_from() -> None:
    plan = recipes.load("toy-full", ['variants=["seqkd-toy", "permix-seqkd-toy", "seqkd-gemma3-27b"]', "seeds=[4, 0]"])
    toy, gemma = teachers.configs(plan)
    assert teachers.target(toy) == "datasets/permix/permix-arithmetic-teacher-toy-seed4"
    teacher = base.target(base.configs(plan)[1])
    assert teachers.inputs(toy) == {"personas": "datasets/permix/permix-personas", "model": teacher}
    assert teachers.inputs(gemma)["model"] == "google/gemma-3-27b-it"
    assert teachers.STAGE.needs(gemma) == ("torch", "transformers", "peft")
    assert teachers.configs(recipes.load("toy")) == []


def test_a_served_teacher_is_no_input_and_has_a_price() -> None:
    settings = ['model."llama3.1-70b".url="http://127.0.0.1:1/v1"', 'model."llama3.1-70b".price_out=2.0']
    plan = recipes.load("toy-full", ['variants=["seqkd-llama3.1-70b"]', *settings])
    (config,) = teachers.configs(plan)
    assert list(teachers.inputs(config)) == ["personas"]
    assert teachers.STAGE.needs(config) == ()
    assert teachers.estimate(config) == {"completions": 800, "tokens": 800 * 72, "USD": 800 * 72 * 2 / 1e6}


@pytest.mark.parametrize(("wrong", "sentence"), cases(__file__)["refusals"])
def test_settings_that_make_no_sense_are_refused(wrong: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        teachers.configs(recipes.load("toy-full", [f"teachers.{wrong}"]))
