"""Choose the next tokens of a batch from its logits. A copy in the chat Space makes equal seeds give equal answers.

It imports nothing of permix, so that the Space can run it.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch


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
        alive, logits = alive.to(logits.device), logits.float()
        temperature = self._temperature[alive]
        weights = torch.softmax(logits / temperature.masked_fill(temperature == 0, 1.0), -1)
        if self._any_top_p:
            weights = _nucleus(weights, self._top_p[alive])
        # A CPU sums float32 in float64. On a GPU a large vocabulary would lose its rare tokens.
        cumulated = weights.cumsum(-1, dtype=torch.float64 if weights.is_cuda else torch.float32)
        total = cumulated[:, -1:]
        if bool(total.isnan().any()):
            raise FloatingPointError("The logits are infinite or NaN.")
        at = torch.minimum(self._noise[alive, step, None] * total, torch.nextafter(total, torch.zeros_like(total)))
        chosen = torch.searchsorted(cumulated, at, right=True)[:, 0]
        if self._any_greedy:
            chosen = torch.where(temperature[:, 0] == 0, logits.argmax(-1), chosen)
        return chosen.cpu()


def _nucleus(weights: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Keep the most probable tokens whose sum reaches `top_p`, at least one, and those as probable as the last."""
    size, vocabulary = 64, weights.shape[-1]
    while True:  # sorting all weights costs more than the model; a cut by value does not depend on the size
        top = weights.topk(min(size, vocabulary), -1).values
        reached = top.cumsum(-1)
        if size >= vocabulary or bool(((reached[:, -1:] >= top_p) | (top_p == 1)).all()):
            break
        size *= 8
    last = top.masked_fill(reached - top >= top_p, torch.inf).amin(-1, keepdim=True)
    return weights.masked_fill((weights < last) & (top_p < 1), 0.0)
