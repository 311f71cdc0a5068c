"""`permix verify` on scores that do and do not follow from the judges' raw replies; no model is asked."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from permix import parquet
from permix.commands import verify
from permix.errors import PermixError
from permix.publishing.hub import Hub
from permix.stages import personagym
from tests.support import records

Publish = Callable[..., str]
PEOPLE, TASK = ("chef", "pilot", "nurse"), "persona_consistency"


def judged(persona: str, name: str, raw: list[str], score: float | None, status: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "question_id": f"{persona}|{TASK}|0", "persona": persona, "category": "", "task": TASK, "question": "?",
    }  # fmt: skip
    row |= {"question_writer": "w", "answer": "!", "finish": "stop", "tokens_out": 1, "seed": 1, "adapter_digest": ""}
    row |= {"base_dtype": "float32", "judge": name, "model": name, "retries": len(raw) - 1, "raw": raw}
    return row | {"score": score, "status": status}


@pytest.fixture
def publish(hub: Hub, tmp_path: Path, request: pytest.FixtureRequest) -> Publish:
    """Publishes a personagym artifact; `score` falsifies the first row's, `mean` the summary's."""

    def publish_judgements(score: float | None = 4.0, mean: float = 0.0) -> str:
        table = [judged(key, name, ["no", '{"score": 4}'], 4.0, "scored") for name in "ab" for key in PEOPLE]
        table[-1] |= {"raw": ["Five!"], "score": None, "status": "no_json"}
        table[0]["score"] = score
        settings: dict[str, Any] = {"questions": "datasets/o/q", "judge_models": (), "judges": ("a", "b")}
        config = personagym.Config(variant="base", base="o/b", base_slug="b", **settings)
        folder = tmp_path / "gym"
        parquet.write(table, personagym.COLUMNS, folder / "data" / "scores" / "test-00000-of-00001.parquet")
        tables = {"scores": table, "calibration": [], "checks": []}
        summary = personagym.summarise(vars(config), tables)
        summary["score"]["mean"] += mean
        target = f"datasets/verify-tests/{re.sub('[^a-zA-Z]+', '-', request.node.name).strip('-')}"
        records.publish(hub, "personagym", target, folder, config, summary=summary)
        return target

    return publish_judgements


def test_honest_scores_pass(publish: Publish, capsys: pytest.CaptureFixture[str]) -> None:
    verify.verify(publish())
    assert "6 judgements read again from raw replies, 0 scores and 0 of" in capsys.readouterr().out


@pytest.mark.parametrize("score", [5.0, None])
def test_a_falsified_score_is_found(score: float | None, publish: Publish, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PermixError, match="does not follow from its"):
        verify.verify(publish(score=score))
    output = capsys.readouterr().out
    assert "judges/a/" in output
    assert "read again from raw replies, 1 scores and" in output


def test_a_falsified_number_is_found(publish: Publish, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PermixError, match="does not follow from its"):
        verify.verify(publish(mean=0.5))
    assert "score/mean: stored 4.5, recomputed 4.0" in capsys.readouterr().out
