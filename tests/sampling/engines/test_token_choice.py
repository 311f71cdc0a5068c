"""Tokens chosen from logits: pieces and candidates give the tokens of the whole distribution."""

import pytest
import torch

from permix.sampling.engines import token_choice
from permix.sampling.engines.token_choice import TokenChooser
from permix.sampling.sampler import EncodedRequest, Sampling

LOGITS = torch.randn(40, 5000, generator=torch.Generator().manual_seed(0)).mul(4).bfloat16()  # with ties
LINES = torch.arange(40)


def chosen(top_p: list[float], temperature: float = 1.0) -> torch.Tensor:
    requests = [EncodedRequest([1], Sampling(temperature, p, 1), seed) for seed, p in enumerate(top_p)]
    return TokenChooser(requests, torch.device("cpu"))(LOGITS, LINES, 0)


def test_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = chosen([0.9] * 40)
    monkeypatch.setattr(token_choice, "PIECE", 3 * 5000)
    assert torch.equal(chosen([0.9] * 40), whole)


@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.99])
def test_a_nucleus_gives_the_tokens_of_the_whole_distribution_cut_at_its_border(top_p: float) -> None:
    weights = torch.softmax(LOGITS.float(), -1)
    ordered = weights.sort(-1, descending=True).values
    border = ordered.masked_fill(ordered.cumsum(-1) - ordered >= top_p, torch.inf).amin(-1, keepdim=True)
    cut = TokenChooser([whole(seed) for seed in range(40)], torch.device("cpu"))
    assert torch.equal(chosen([top_p] * 40), cut(weights.masked_fill(weights < border, 0).log(), LINES, 0))


def whole(seed: int) -> EncodedRequest:
    return EncodedRequest([1], Sampling(1.0, 1.0, 1), seed)


def test_requests_with_and_without_top_p_share_a_batch() -> None:
    mixed = chosen([0.5, 1.0] * 20)
    assert torch.equal(mixed[::2], chosen([0.5] * 40)[::2])
    assert torch.equal(mixed[1::2], chosen([1.0] * 40)[1::2])


def test_greedy_tokens_are_the_most_probable() -> None:
    assert torch.equal(chosen([0.9] * 40, temperature=0.0), LOGITS.argmax(-1))
