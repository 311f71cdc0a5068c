"""Choose the next tokens of a batch from its logits. A copy in the chat Space makes equal seeds give equal answers.

It imports nothing of permix, so that the Space can run it.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

PIECE = 2**20
"""Logits chosen from at once on a CPU: their copies stay in its cache."""


class Sampling(Protocol):
    """How a completion is sampled; temperature 0 is greedy."""

    @property
    def temperature(self) -> float: ...
    @property
    def top_p(self) -> float: ...
    @property
    def max_tokens(self) -> int: ...


class Request(Protocol):
    """One completion to sample: its settings, and the seed of its noise."""

    @property
    def sampling(self) -> Sampling: ...
    @property
    def seed(self) -> int: ...


class TokenChooser:
    """Choose tokens by inverting the distribution function, with one uniform number per request and step.

    A token depends on its own request's logits and seed only. Noise for every logit would cost ten times as much.
    """

    def __init__(self, requests: Sequence[Request], device: torch.device) -> None:
        """Draw the uniform numbers of all requests. Philox is meant for consecutive keys."""
        noise = np.zeros((len(requests), max(r.sampling.max_tokens for r in requests)), dtype=np.float32)
        for row, request in zip(noise, requests, strict=True):
            count = request.sampling.max_tokens
            row[:count] = np.random.Generator(np.random.Philox(key=request.seed % 2**128)).random(count, np.float32)
        temperature = torch.tensor([r.sampling.temperature for r in requests])
        top_p = torch.tensor([r.sampling.top_p for r in requests])
        self._any_greedy, self._any_top_p = bool((temperature == 0).any()), bool((top_p < 1).any())
        self._noise = torch.from_numpy(noise).to(device)
        self._temperature, self._top_p = temperature[:, None].to(device), top_p[:, None].to(device)

    def __call__(self, logits: torch.Tensor, alive: torch.Tensor, step: int) -> torch.Tensor:
        """Return token ids, on the CPU, for `logits` (lines, vocabulary); line i belongs to request alive[i].

        FloatingPointError for logits without a distribution, because they are infinite or NaN.
        """
        alive = alive.to(logits.device)
        mixed = self._any_top_p and not bool((self._top_p[alive] < 1).all())
        size = 1 if mixed else max(1, PIECE // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
        pieces = zip(torch.split(logits, size), torch.split(alive, size), strict=True)
        return torch.cat([self._choose(piece, requests, step) for piece, requests in pieces]).cpu()

    def _choose(self, logits: torch.Tensor, requests: torch.Tensor, step: int) -> torch.Tensor:
        """Choose for lines whose top_p is below 1 for all or for none."""
        temperature, top_p = self._temperature[requests], self._top_p[requests]
        scaled = logits.to(torch.float32, copy=True).div_(temperature.masked_fill(temperature == 0, 1.0))
        weights, tokens = torch.softmax(scaled, -1), None
        if bool((top_p < 1).all()):
            weights, tokens = _nucleus(weights, top_p)
        # A CPU sums float32 in float64. On a GPU a large vocabulary would lose its rare tokens.
        cumulated = weights.cumsum(-1, dtype=torch.float64 if weights.is_cuda else torch.float32)
        total = cumulated[:, -1:]
        if bool(total.isnan().any()):
            raise FloatingPointError("The logits are infinite or NaN.")
        noise = self._noise[requests, step, None]
        at = torch.minimum(noise * total, torch.nextafter(total, torch.zeros_like(total)))
        chosen = torch.searchsorted(cumulated, at, right=True)
        if tokens is not None:
            chosen = tokens.gather(-1, chosen)
        if self._any_greedy:
            chosen = torch.where(temperature == 0, logits.argmax(-1, keepdim=True), chosen)
        return chosen[:, 0]


def _nucleus(weights: torch.Tensor, top_p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Keep the most probable tokens whose sum reaches `top_p`, at least one, and those as probable as the last.

    Return their weights (0 for others) and ids, (lines, candidates), in the order of the vocabulary.
    """
    size, vocabulary = 64, weights.shape[-1]
    while True:  # sorting all weights costs more than the model; a cut by value does not depend on the size
        top, tokens = weights.topk(min(size, vocabulary), -1)
        before = top.cumsum(-1) - top
        last = top.masked_fill(before >= top_p, torch.inf).amin(-1, keepdim=True)
        if size >= vocabulary or bool((top[:, -1:] < last).all()):
            break
        size *= 8
    tokens, order = tokens.sort(-1)
    return top.masked_fill(top < last, 0.0).gather(-1, order), tokens
