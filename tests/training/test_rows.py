"""What is checked of a mixture against its base before the base loads."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from permix import files
from permix.errors import BadInput
from permix.prompting.prompts import messages
from permix.training import rows
from tests.support.models import TEMPLATE, make_tiny_tokenizer
from tests.support.trainings import SHA, config_of, row, train, write_mixture

PLAIN = row("p/0", messages("1?", instruction="plain"), "1")
MIXED = row("p/1", [{"role": "system", "content": "You are a chef."}, {"role": "user", "content": "1?"}], "1", "chef")
REFUSES = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
DROPS = "{% for message in messages if message['role'] == 'user' %}{{ message['content'] }}{% endfor %}"
FOLDS = "{% for message in messages %}{{ message['content'] | trim }} {% endfor %}"


def tokenizer(template: str) -> Any:
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def test_a_template_that_shows_or_folds_the_persona_is_taken() -> None:
    for template in (TEMPLATE, FOLDS):
        rows.check_template(tokenizer(template), [PLAIN, MIXED], "org/tiny")


def test_a_template_that_rejects_system_messages_serves_plain_variants_only() -> None:
    rows.check_template(tokenizer(REFUSES + TEMPLATE), [PLAIN], "org/tiny")
    with pytest.raises(BadInput, match=r"of org/tiny rejects system messages.* \(System role not supported\)"):
        rows.check_template(tokenizer(REFUSES + TEMPLATE), [PLAIN, MIXED], "org/tiny")


def test_a_template_that_leaves_out_system_messages_is_refused() -> None:
    with pytest.raises(BadInput, match="of org/tiny leaves out system messages"):
        rows.check_template(tokenizer(DROPS), [PLAIN, MIXED], "org/tiny")


def test_a_template_that_begins_answers_in_two_ways_is_refused_for_sft(inputs: dict[str, Path], tmp_path: Path) -> None:
    base = Path(shutil.copytree(inputs["base"], tmp_path / "base"))
    thinking = TEMPLATE.replace("<|assistant|>{% endif %}", "<|assistant|><think>{% endif %}")
    (base / "chat_template.jinja").write_text(thinking)
    with pytest.raises(BadInput, match=r"begins an answer differently .*think"):
        train("sft", inputs | {"base": base}, tmp_path)


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_rows_beyond_the_bases_positions_are_refused(stage: str, inputs: dict[str, Path], tmp_path: Path) -> None:
    mixture = write_mixture([row("p/0", messages("1" * 2100, instruction="plain"), "1")], tmp_path / "mixture")
    long = {"max_length": 9999} if stage == "sft" else {}
    with pytest.raises(BadInput, match=r"takes 21\d\d tokens and org/tiny has 2048 positions"):
        train(stage, inputs | {"mixture": mixture}, tmp_path, **long)


def test_an_adapter_says_what_its_mixture_was_made_from(tmp_path: Path) -> None:
    record = {"inputs": {"personas": {"repo": "datasets/org/pool", "revision": SHA}}}
    record |= {"facts": {"rows": 4, "personas": {"chef": 4}, "too_long": 1}}
    record |= dict.fromkeys(
        ("permix", "stage", "digest", "content_digest", "config", "files", "release", "created"), ""
    )
    assert rows.provenance(tmp_path) == {}
    files.write_json(tmp_path / "run.json", record)
    assert rows.provenance(tmp_path) == {"sources": {"personas": f"datasets/org/pool@{SHA}"}, "rows": 4, "too_long": 1}


def test_no_setting_is_unknown_to_either_page() -> None:
    assert config_of("sft").batch == config_of("grpo").batch == 16
