"""Questions for every persona and task, written by a scripted model over real HTTP, or taken from a dataset."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from permix import files
from permix.errors import BadInput, PermixError
from permix.experiment.models import Model
from permix.pipeline import recipes
from permix.prompting import persona
from permix.stages import questions
from tests.support.cases import cases
from tests.support.faulty_server import Answer, Asked, FaultyServer, Script, completion
from tests.support.judges import parts_in, says, scripted

pytestmark = pytest.mark.usefixtures("hurry")

TOML = {"name": "own", "benchmarks": ["arithmetic"], "questions": {"per_task": 2, "model": "w"}}
WRITER = {"model": "gpt-w", "url": "http://127.0.0.1:9/v1"}


def config_of(**settings: Any) -> questions.Config:
    (config,) = questions.configs(recipes.parse({**TOML, "model": {"w": WRITER}}, "own.toml"))
    return replace(config, **settings)


def written(
    script: Script, work: Path, inputs: dict[str, Path] | None = None, **settings: Any
) -> tuple[dict[str, Any], list[dict[str, Any]], FaultyServer]:
    with FaultyServer(script) as server, parts_in(work) as parts:
        config = config_of(writer=Model(name="w", model="good-model", url=server.url), **settings)
        facts = questions.run(config, inputs or {"personas": files.PERSONAS}, work / "out", context=parts)
    return facts, questions.read(work / "out"), server


def test_every_persona_gets_its_questions_in_every_task_with_examples(tmp_path: Path) -> None:
    facts, rows, server = written(scripted(), tmp_path)
    pool = persona.bundled("eval")
    assert [row["question_id"] for row in rows] == [
        f"{member.key}|{task}|{n}" for member in pool for task in questions.TASKS for n in range(2)
    ]
    assert len({row["question"] for row in rows}) == 160
    assert facts["rows"] == 160
    assert all(row["examples"] == [f"An answer worth {n}." for n in range(1, 6)] for row in rows)
    assert {(r["persona"], r["system_prompt"]) for r in rows} == {(member.key, member.system_prompt) for member in pool}
    assert (facts["writers"], facts["without_questions"]) == (["scripted-1"], {})
    assert facts["cost"]["api_calls"] == 80 + 160 == len(server.asked)
    assert facts["tasks"] == dict.fromkeys(questions.TASKS, 32)


def test_without_examples_only_the_questions_are_paid_for(tmp_path: Path) -> None:
    facts, rows, _ = written(scripted(), tmp_path, examples=False)
    assert {row["examples"] for row in rows} == {None}
    assert facts["cost"]["api_calls"] == 80


def too_few(request: Asked) -> Answer:
    return says({"questions": ["Only one?", " Only one? ", ""]})


def prose(request: Asked) -> Answer:
    return completion("Sure! 1. What would you do?")


@pytest.mark.parametrize(("wrong", "fault"), [(too_few, "too_few"), (prose, "no_json")])
def test_a_persona_without_questions_is_recorded_and_others_go_on(wrong: Script, fault: str, tmp_path: Path) -> None:
    def script(request: Asked) -> Answer:
        first = request.body["messages"][0]["content"]
        return wrong(request) if "lawyer" in first and "how the person talks" in first else scripted()(request)

    facts, rows, _ = written(script, tmp_path, examples=False)
    assert facts["without_questions"] == {"lawyer|linguistic_habits": fault}
    assert len(rows) == 158
    assert facts["personas"]["lawyer"] == 8
    assert facts["personas"]["chef" if "chef" in facts["personas"] else "clever"] == 10


def test_a_question_without_examples_is_counted(tmp_path: Path) -> None:
    def script(request: Asked) -> Answer:
        is_example = request.body["messages"][0]["content"].startswith("Somebody plays")
        return says({"1": "bad", "5": "good"}) if is_example else scripted()(request)

    facts, rows, _ = written(script, tmp_path, per_task=1)
    assert facts["without_examples"] == {"too_few": 80}
    assert {row["examples"] for row in rows} == {None}


def test_a_model_that_writes_nothing_stops_it(tmp_path: Path) -> None:
    with pytest.raises(PermixError, match=r"wrote no usable question \(80 x no_json\)"):
        written(prose, tmp_path)


def test_half_a_character_does_not_break_the_file(tmp_path: Path) -> None:
    text = '{"questions": ["Really? \\ud83d", "And then?"]}'
    _, rows, _ = written(lambda _: completion(text), tmp_path, examples=False)
    assert rows[0]["question"] == "Really? \ufffd"


def dataset(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Path]:
    folder.mkdir()
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"questions": folder}


def run_stage(
    config: questions.Config, inputs: dict[str, Path], work: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    with parts_in(work) as parts:
        return questions.run(config, inputs, work / "out", context=parts), questions.read(work / "out")


OWN = {"dataset": "me/questions", "examples": False, "writer": None}


def test_questions_of_a_dataset_cost_nothing(tmp_path: Path) -> None:
    rows = [
        {"persona": "a nurse from Italy", "task": task, "question": f"{task} {n}?"}
        for task in ("Toxicity", "Persona Consistency")
        for n in range(3)
    ]
    inputs = dataset(tmp_path / "d", [*rows, {"persona": "a cook.", "task": "Toxicity", "question": "?"}])
    facts, table = run_stage(config_of(**OWN, limit=1, written_by="gpt-4o"), inputs, tmp_path)
    assert [row["task"] for row in table] == ["toxicity_control"] * 2 + ["persona_consistency"] * 2
    assert [row["number"] for row in table] == [0, 1, 0, 1]
    assert facts["writers"] == ["gpt-4o"]
    assert table[0]["system_prompt"].startswith("You are this person: a nurse from Italy. Answer")
    assert facts["cost"]["api_calls"] == 0
    facts, _ = run_stage(config_of(**OWN), inputs, tmp_path / "all")
    assert facts["personas"] == {"a nurse from Italy": 4, "a cook.": 1}


def test_a_dataset_of_something_else_is_refused_before_anything_is_paid_for(tmp_path: Path) -> None:
    inputs = dataset(tmp_path / "d", [{"persona": "a nurse", "task": "Small Talk", "question": "Hm?"}])
    with pytest.raises(BadInput, match=r"Row 1 of me/questions should have .* its task is 'Small Talk'"):
        questions.check(config_of(**OWN), inputs)


def test_personagyms_own_questions_can_be_used(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "vsamuel2003" / "PersonaGym"
    settings = OWN | {"dataset": "vsamuel2003/PersonaGym", "config": "benchmark-v1", "per_task": 10}
    facts, rows = run_stage(config_of(**settings), {"questions": folder}, tmp_path)
    assert (facts["rows"], len(facts["personas"]), facts["tasks"]) == (10_000, 200, dict.fromkeys(facts["tasks"], 2000))
    assert set(facts["tasks"]) == set(questions.TASKS)
    assert len({row["question_id"] for row in rows}) == 10_000


def test_the_recipe_asks_for_it_by_a_table_and_names_its_model() -> None:
    assert questions.configs(recipes.load("toy")) == []
    config = config_of()
    assert questions.target(config) == "datasets/permix/permix-personagym-questions"
    assert questions.inputs(config) == {"personas": "datasets/permix/permix-personas"}
    assert questions.estimate(config) == {"calls": 80 + 160, "tokens": 240 * 8192}
    assert questions.expected(config) == {"calls": 240, "tokens": 240 * 500 + 160 * 80 + 160 * 600}
    priced = replace(config, writer=Model(name="w", model="w", url="http://x/v1", price_in=1.0, price_out=10.0))
    assert questions.estimate(priced)["USD"] == pytest.approx((240 * 350 + 240 * 8192 * 10) / 1e6)


def test_no_key_or_model_is_needed_for_what_is_there_already() -> None:
    text = {**TOML, "questions": {"dataset": "me/q", "examples": False}}
    (config,) = questions.configs(recipes.parse(text, "own.toml"))
    assert config.writer is None
    assert questions.estimate(config) == {}
    assert questions.inputs(config) == {"questions": "datasets/me/q"}


@pytest.mark.parametrize(("table", "sentence"), cases(__file__)["refusals"])
def test_settings_that_make_no_sense_are_refused(table: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        questions.configs(recipes.parse({**TOML, "questions": table}, "own.toml"))
