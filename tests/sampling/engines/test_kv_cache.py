"""Prompts read into the cache: shared beginnings are read once, and every line has the logits of its own prompt."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from permix.sampling.engines.kv_cache import DecodingState, shared_lengths

SYSTEM, DUMB, WISE = list(range(5, 25)), list(range(30, 50)), list(range(60, 75))
PROMPTS = [
    *[[*SYSTEM, *DUMB, *range(100, 100 + n)] for n in (3, 9, 4)],
    *[[*SYSTEM, *WISE, *range(110, 110 + n)] for n in (7, 2)],
    [200, 201, 202],
    [*SYSTEM, *DUMB],
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from tests.support.models import make_tiny_model

    folder = tmp_path_factory.mktemp("model")
    make_tiny_model(folder)
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def tokens_read(model: Any, prompts: Sequence[Sequence[int]]) -> int:
    """Count the positions that the model computes for these prompts, padding included."""
    counts: list[int] = []
    with model.register_forward_pre_hook(lambda _, ids: counts.append(ids[0].numel())), torch.inference_mode():
        DecodingState(model, prompts, 4)
    return sum(counts)


@torch.inference_mode()
def test_every_line_has_the_logits_of_its_prompt(model: Any) -> None:
    expected = torch.stack([model(torch.tensor([prompt])).logits[0, -1] for prompt in PROMPTS])
    torch.testing.assert_close(DecodingState(model, PROMPTS, 4).logits, expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_lines_continue_after_some_were_dropped(model: Any) -> None:
    state, lines = DecodingState(model, PROMPTS, 4), [1, 3, 5]
    state.select(torch.tensor(lines))
    state.advance(torch.tensor([90, 91, 92]))
    longer = [[*PROMPTS[line], token] for line, token in zip(lines, (90, 91, 92), strict=True)]
    expected = torch.stack([model(torch.tensor([prompt])).logits[0, -1] for prompt in longer])
    torch.testing.assert_close(state.logits, expected, atol=1e-4, rtol=1e-4)


def test_a_shared_beginning_is_read_once(model: Any) -> None:
    prompts = [[*SYSTEM, *DUMB, n] for n in range(100, 150)]
    assert tokens_read(model, prompts) == len(SYSTEM + DUMB) + 50


@pytest.mark.parametrize(
    ("prompts", "lengths"),
    [
        ([[*SYSTEM, 1, 2], [*SYSTEM, 3]], [20, 20]),
        ([[*SYSTEM], [*SYSTEM, 3]], [19, 19]),  # the shorter keeps a token of its own
        ([[1, 2, 3], [1, 2, 4]], [0, 0]),  # too short to be worth a piece of its own
        ([[*SYSTEM, 1]], [0]),
        ([[*SYSTEM, *DUMB, 1], [7], [*SYSTEM, *DUMB, 2], [*SYSTEM, *DUMB, 3]], [40, 0, 40, 40]),
    ],
)
def test_beginnings_are_shared_so_that_the_fewest_tokens_are_read(prompts: list[list[int]], lengths: list[int]) -> None:
    assert shared_lengths(prompts) == lengths
