"""The keys and values of a batch, and the prompts read into them."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from permix.sampling.sampler import EncodedRequest

PREFILL_TOKENS = 1024
"""Prompt tokens read at once on a CPU: the fastest of 256-4,096."""


class CacheLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one attention layer, (lines, heads, columns, size), in one piece of memory."""

    def __init__(self, lines: int, columns: int) -> None:
        super().__init__()
        self._lines, self._columns = lines, columns
        self.open(slice(None), 0, 0)

    def open(self, window: slice, start: int, end: int) -> None:
        """Let the model see the lines in `window` and the columns from `start` to `end`."""
        self._window, self._start, self._end = window, start, end

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.keys, self.values = (
            new.new_empty(self._lines, new.shape[1], self._columns, new.shape[3]) for new in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old, self._end = self._end, self._end + key_states.shape[2]
        for stored, new in ((self.keys, key_states), (self.values, value_states)):
            if old == self._start:
                stored[self._window, :, :old] = 0  # masked, but 0 x NaN from unwritten memory is NaN
            stored[self._window, :, old : self._end] = new
        columns = slice(self._start, self._end)
        return self.keys[self._window, :, columns], self.values[self._window, :, columns]

    def get_seq_length(self) -> int:
        return self._end - self._start

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        if len(indices) > len(self.keys):
            self.keys, self.values = self.keys[indices], self.values[indices]
            return
        moved = (indices != torch.arange(len(indices), device=indices.device)).nonzero()[:, 0]
        for stored in (self.keys, self.values):
            stored[moved, :, : self._end] = stored[indices[moved], :, : self._end]
        self.keys, self.values = self.keys[: len(indices)], self.values[: len(indices)]


class DecodingState:
    """A batch during decoding: the next logits of every line, its cache, mask and positions."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], more: int) -> None:
        """Read the prompts, left-padded, and make room for `more` tokens."""
        self._model, self._takes = model, inspect.signature(model.forward).parameters
        self._cache = DynamicCache(config=model.config)
        width = max(map(len, prompts))
        # Other layers (sliding windows, state spaces) keep their class of transformers, and read all prompts at once.
        plain = all(type(layer) is DynamicLayer for layer in self._cache.layers)
        if plain:
            self._cache.layers = [CacheLayer(len(prompts), width + more) for _ in self._cache.layers]
        step = max(1, PREFILL_TOKENS // width) if plain and model.device.type == "cpu" else len(prompts)
        logits, masks = [], []
        for first in range(0, len(prompts), step):
            part = prompts[first : first + step]
            part_width = max(map(len, part))
            ids = torch.tensor([[0] * (part_width - len(p)) + list(p) for p in part], device=model.device)
            mask = torch.tensor([[0] * (part_width - len(p)) + [1] * len(p) for p in part], device=model.device)
            if plain:
                self._open(slice(first, first + len(part)), width - part_width, width - part_width)
            logits.append(self._forward(ids, mask, (mask.cumsum(-1) - 1).clamp(min=0)))
            masks.append(torch.nn.functional.pad(mask, (width - part_width, 0)))
        if plain:
            self._open(slice(None), 0, width)
        self.logits, self._mask = torch.cat(logits), torch.cat(masks)
        self._position = self._mask.sum(-1, keepdim=True)

    def select(self, lines: torch.Tensor) -> None:
        """Continue with the lines at these indices."""
        lines = lines.to(self._mask.device)
        self._cache.batch_select_indices(lines)
        self._mask, self._position, self.logits = self._mask[lines], self._position[lines], self.logits[lines]

    def advance(self, chosen: torch.Tensor) -> None:
        """Append one token to every line."""
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        self.logits = self._forward(chosen[:, None].to(self._mask.device), self._mask, self._position)
        self._position = self._position + 1

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        more = {"position_ids": positions, "logits_to_keep": 1}
        out = self._model(
            ids,
            attention_mask=None if bool(mask.all()) else mask,
            past_key_values=self._cache,
            use_cache=True,
            **{name: value for name, value in more.items() if name in self._takes},
        )
        return out.logits[:, -1]  # type: ignore[no-any-return]

    def _open(self, window: slice, start: int, end: int) -> None:
        for layer in self._cache.layers:
            layer.open(window, start, end)


def prefill(model: Any, requests: Sequence[EncodedRequest], more: int) -> DecodingState:
    """Read each distinct prompt once, then copy its state to every request."""
    numbers: dict[tuple[int, ...], int] = {}
    lines = [numbers.setdefault(tuple(request.prompt), len(numbers)) for request in requests]
    state = DecodingState(model, list(numbers), more)
    if len(numbers) < len(requests):
        state.select(torch.tensor(lines))
    return state
