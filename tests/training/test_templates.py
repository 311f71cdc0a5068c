"""The chat templates of real bases, as TRL ships them to the letter: what a persona's prompt becomes under each."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from permix.errors import BadInput
from permix.sampling.sampler import CHAT_TEMPLATE_KWARGS
from permix.stages import sft
from permix.training import rows
from tests.support.models import make_tiny_tokenizer
from tests.support.trainings import config_of, row

USER = {"role": "user", "content": "2 + 2?"}
PLAIN = row("p/0", [USER], "4", target="It is 4.")
MIXED = row("p/1", [{"role": "system", "content": "You are a chef."}, USER], "4", "chef", "It is 4.")

LLAMA = "<bos><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
LLAMA += "Today Date: 26 Jul 2024\n\n{persona}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n2 + 2?<|eot_id|>"
LLAMA += "<|start_header_id|>assistant<|end_header_id|>\n\n"
CHATML = "<|im_start|>system\nYou are a chef.<|im_end|>\n<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
QWEN = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
BARE = CHATML.partition("<|im_end|>\n")[2]
NOT_THINKING = "<think>\n\n</think>\n\n"
GEMMA = "<bos><start_of_turn>user\n{persona}2 + 2?<end_of_turn>\n<start_of_turn>model\n"
RENDERED = {
    "llama3_1": (LLAMA.format(persona="You are a chef."), LLAMA.format(persona="")),
    "llama3_2": (LLAMA.format(persona="You are a chef."), LLAMA.format(persona="")),
    "qwen2_5": (CHATML, QWEN + BARE),
    "qwen3": (CHATML + NOT_THINKING, BARE + NOT_THINKING),
    "qwen3_instruct_2507": (CHATML, BARE),
    "gemma3": (GEMMA.format(persona="You are a chef.\n\n"), GEMMA.format(persona="")),
}
"""With a persona and without: no date of today, no thinking, and what a base says of itself when nobody else does."""


def tokenizer(name: str) -> Any:
    trl = importlib.util.find_spec("trl")
    assert trl
    assert trl.origin
    tokenizer = make_tiny_tokenizer()
    tokenizer.bos_token = "<bos>"
    tokenizer.chat_template = (Path(trl.origin).parent / "chat_templates" / f"{name}.jinja").read_text()
    return tokenizer


@pytest.mark.parametrize("name", RENDERED)
def test_a_persona_is_the_system_message_and_nothing_depends_on_the_day(name: str) -> None:
    for each, rendered in zip((MIXED, PLAIN), RENDERED[name], strict=True):
        settings = {"tokenize": False, "add_generation_prompt": True, **CHAT_TEMPLATE_KWARGS}
        text = tokenizer(name).apply_chat_template(each["prompt"], **settings)
        assert text == rendered


@pytest.mark.parametrize("name", RENDERED)
def test_an_answer_is_learned_where_it_will_be_given(name: str) -> None:
    rows.check_template(tokenizer(name), [PLAIN, MIXED], f"org/{name}")
    assert len(sft._lengths(config_of("sft", max_length=999), tokenizer(name), [PLAIN, MIXED])) == 2


def test_the_first_gemma_takes_no_persona_and_a_base_that_always_thinks_no_targets() -> None:
    rows.check_template(tokenizer("gemma"), [PLAIN], "org/gemma")
    with pytest.raises(BadInput, match=r"of org/gemma rejects system messages.*System role not supported"):
        rows.check_template(tokenizer("gemma"), [MIXED], "org/gemma")
    with pytest.raises(BadInput, match=r"begins an answer differently in a prompt .*think"):
        sft._lengths(config_of("sft", max_length=999), tokenizer("deepseek_r1_distill"), [PLAIN])
