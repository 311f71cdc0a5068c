"""`permix verify` on sweeps that do and do not follow from their completions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from permix import benchmarks
from permix.commands import show, verify
from permix.errors import BadInput, PermixError
from permix.pipeline import verify as verification
from permix.prompting import persona
from permix.publishing.hub import Hub
from permix.stages import sweep
from permix.stages.shared import sweep_rows
from tests.support import records
from tests.support.quiz import QUIZ

Publish = Callable[..., str]
TEXTS = ("question", "gold", "system_prompt")
QUESTIONS = benchmarks.load(benchmarks.builtin("arithmetic"), None)[:3]


@pytest.fixture
def publish(hub: Hub, tmp_path: Path, request: pytest.FixtureRequest) -> Publish:
    """Publishes a sweep in which one persona is right and the other is not; `score` falsifies the first row's."""

    def publish_sweep(score: float = 1.0, mean: float = 0.0, source: benchmarks.Source | None = None) -> str:
        settings: dict[str, Any] = {"personas": "d/o/p", "runs": 1, "draws": 20}
        used = source or benchmarks.builtin("arithmetic")
        config = sweep.Config(variant="base", base="o/b", base_slug="b", benchmarks=(used,), limit=3, **settings)
        people = [*persona.CONTROLS, persona.Persona("good", "c", "."), persona.Persona("bad", "c", ".")]
        rows = []
        for member in people:
            for problem in QUESTIONS:
                text = f"\\boxed{{{problem.gold if member.key == 'good' else '-1'}}}"
                rows.append({"problem_id": problem.id, "persona": member.key, "completion": text, "finish": "stop"})
                rows[-1] |= used.texts(problem) | {"system_prompt": member.system_prompt}
                rows[-1] |= {
                    "run": 0, "erratum": "", "seed": 1, "prompt_digest": "0", "tokens_out": 4, "adapter_digest": "",
                }  # fmt: skip
                rows[-1] |= {"category": member.category, "base_dtype": "float32"}
        graded = sweep_rows.regrade(rows, QUESTIONS)
        first = next(row for row in graded if row["persona"] == "good")
        assert first["score"] == 1.0
        first["score"] = score
        folder = tmp_path / "sweep"
        sweep_rows.write(graded, folder, used.name)
        summary = sweep.summarise(config, {used.name: graded})
        summary["benchmarks"][used.name]["pss"]["mean"] += mean
        target = f"datasets/verify-tests/{request.node.name.replace('_', '-')[:60]}"
        inputs = {f"benchmark/{used.name}": {"repo": used.repo, "revision": "main"}} if used.repo else {}
        records.publish(hub, "sweep", target, folder, config, inputs, summary=summary)
        return target

    return publish_sweep


def test_an_honest_sweep_passes(publish: Publish, capsys: pytest.CaptureFixture[str]) -> None:
    verify.verify(publish())
    assert "12 completions graded again, 0 scores and 0 of" in capsys.readouterr().out


def test_a_falsified_score_is_found_with_its_numbers(publish: Publish, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PermixError, match="does not follow from its completions"):
        verify.verify(publish(score=0.0))
    output = capsys.readouterr().out
    assert "benchmarks/arithmetic/accuracy/good: stored 0.666667, recomputed 1.0" in output
    assert "12 completions graded again, 1 scores and" in output
    assert f"problem_id {QUESTIONS[0].id}, persona good, run 0: stored score 0.0, recomputed 1.0\n" in output
    assert f"  question: {QUESTIONS[0].question}\n  gold: {QUESTIONS[0].gold}\n" in output
    assert f"  extracted: stored {QUESTIONS[0].gold}, recomputed {QUESTIONS[0].gold}\n" in output


def test_a_sweep_without_the_columns_of_texts_is_verified_with_its_problems(
    publish: Publish, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    older = {name: kind for name, kind in sweep_rows.COLUMNS.items() if name not in TEXTS}
    monkeypatch.setattr(sweep_rows, "COLUMNS", older)
    with pytest.raises(PermixError, match="does not follow from its completions"):
        verify.verify(publish(score=0.0))
    assert f"  question: {QUESTIONS[0].question}\n  gold: {QUESTIONS[0].gold}\n" in capsys.readouterr().out


def test_a_falsified_number_is_found(publish: Publish, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PermixError, match="does not follow from its completions"):
        verify.verify(publish(mean=0.25))
    assert "benchmarks/arithmetic/pss/mean: stored 0.75, recomputed 0.5" in capsys.readouterr().out


def test_problems_that_are_not_there_are_named(publish: Publish) -> None:
    with pytest.raises(BadInput, match="datasets/me/quiz, whose problems the sweep used, is not on this Hub"):
        verify.verify(publish(source=QUIZ))


def test_show_prints_a_record_for_people_and_for_programs(publish: Publish, capsys: pytest.CaptureFixture[str]) -> None:
    target = publish()
    show.show(target)
    output = capsys.readouterr().out
    assert output.startswith(f"{target}@")
    assert "v1.0.0, made 2026-04-10T12:00:00Z by stage sweep" in output
    assert "was changed since" not in output
    assert max(map(len, output.splitlines())) < 300
    show.show(target, as_json=True)
    assert json.loads(capsys.readouterr().out)["target"] == target


def test_not_a_number_equals_itself_and_the_last_bit_is_free() -> None:
    assert verification._equal(float("nan"), float("nan"))
    assert verification._equal(0.1 + 0.2, 0.3)
    assert not verification._equal(0.3, 0.31)
    assert not verification._equal(None, 0.0)
    assert verification._equal("a", "a")
