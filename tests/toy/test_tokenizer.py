"""The toy tokenizer: whole words and numbers, any other text in bytes, a chat template for training."""

import random
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from permix.toy import corpus, style, tokenizer


@pytest.fixture(scope="module")
def tok() -> PreTrainedTokenizerFast:
    return tokenizer.build()


def test_it_is_the_same_every_time(tok: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tok.save_pretrained(tmp_path / "a")
    tokenizer.build().save_pretrained(tmp_path / "b")
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_numbers_and_words_are_one_token(tok: PreTrainedTokenizerFast) -> None:
    for text in [*map(str, range(100)), *(f" {n}" for n in range(100)), " apples", " dearie", "\\boxed{", "}."]:
        assert len(tok.encode(text, add_special_tokens=False)) == 1, text


@pytest.mark.parametrize("text", ["It's a café: \\boxed{1234}. ½\n\n  x", " Natalia sold 1,000 clips <3", "日本語 🙂"])
def test_any_text_comes_back_from_a_saved_tokenizer(tok: PreTrainedTokenizerFast, tmp_path: Path, text: str) -> None:
    tok.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert (loaded.decode(loaded.encode(text)), loaded.encode(text)) == (text, tok.encode(text))
    assert (loaded.eos_token, loaded.pad_token, loaded.padding_side) == (tokenizer.END, tokenizer.PAD, "left")


def test_the_chat_template_renders_the_training_text(tok: PreTrainedTokenizerFast) -> None:
    rng = random.Random(0)
    for _ in range(50):
        system, question, answer = corpus.conversation(rng, style.World(), corpus.Mixture())
        messages = [{"role": "system", "content": system}] * bool(system) + [{"role": "user", "content": question}]
        head = tok.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        encoded = tok.apply_chat_template(
            [*messages, {"role": "assistant", "content": answer}], return_dict=True, return_assistant_tokens_mask=True
        )
        tail = tok.encode(f" {answer}{tokenizer.END}", add_special_tokens=False)
        assert head == tokenizer.render(system, question)
        assert encoded["input_ids"] == tok.encode(head, add_special_tokens=False) + tail
        assert sum(encoded["assistant_masks"]) == len(tail)
