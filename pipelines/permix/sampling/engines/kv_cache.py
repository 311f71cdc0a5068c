"""The keys and values of a batch, and the prompts read into them."""

import inspect
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from permix.sampling.sampler import EncodedRequest

PREFILL_TOKENS = 1024
"""Prompt tokens read at once on a CPU: the fastest of 256-4,096."""
WORTH_SHARING = 16
"""Fewest tokens of a beginning that is read once for several prompts."""


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

    def paste(self, source: "CacheLayer", lines: torch.Tensor) -> None:
        """Copy these lines of `source` into the columns that the model sees; columns before them become 0."""
        if not self.is_initialized:
            self.lazy_initialization(source.keys, source.values)
        for stored, known in ((self.keys, source.keys), (self.values, source.values)):
            stored[self._window, :, : self._start] = 0
            stored[self._window, :, self._start : self._end] = known[lines]

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
        # Other layers (sliding windows, state spaces) keep their class of transformers, and read all prompts at once.
        if all(type(layer) is DynamicLayer for layer in self._cache.layers):
            self._read(prompts, more)
        else:
            ids, self._mask = self._padded(prompts)
            self._position = self._mask.sum(-1, keepdim=True)
            self.logits = self._forward(ids, self._mask, (self._mask.cumsum(-1) - 1).clamp(min=0))

    def _read(self, prompts: Sequence[Sequence[int]], more: int) -> None:
        """Read each shared beginning once, then the rests by length, a piece of the lines at a time."""
        lengths = shared_lengths(prompts)
        beginnings = [tuple(prompt[:length]) for prompt, length in zip(prompts, lengths, strict=True)]
        numbers = {beginning: number for number, beginning in enumerate(dict.fromkeys(filter(None, beginnings)))}
        shared = DecodingState(self._model, list(numbers), 0) if numbers else None
        rests = [prompt[length:] for prompt, length in zip(prompts, lengths, strict=True)]
        order = sorted(range(len(prompts)), key=lambda line: len(rests[line]))
        pieces = self._pieces([len(rests[line]) for line in order])
        before = shared._mask.shape[1] if shared else 0
        width = before + len(rests[order[-1]])
        self._cache.layers = [CacheLayer(len(prompts), width + more) for _ in self._cache.layers]
        logits, masks = [], []
        for piece in pieces:
            ids, mask = self._padded([rests[line] for line in order[piece]])
            column = width - mask.shape[1]
            self._open(piece, column - before, column)
            positions = (mask.cumsum(-1) - 1).clamp(min=0)
            if shared:
                known = torch.tensor([numbers.get(beginnings[line], 0) for line in order[piece]], device=mask.device)
                has = torch.tensor([bool(lengths[line]) for line in order[piece]], device=mask.device)
                for layer, source in zip(self._cache.layers, shared._cache.layers, strict=True):
                    layer.paste(source, known)
                positions = positions + (shared._position[known] * has[:, None])
                mask = torch.cat([shared._mask[known] * has[:, None], mask], -1)
            logits.append(self._forward(ids, mask, positions))
            masks.append(torch.nn.functional.pad(mask, (column - before, 0)))
        self._open(slice(None), 0, width)
        self.logits, self._mask = torch.cat(logits), torch.cat(masks)
        self._position = self._mask.sum(-1, keepdim=True)
        if order != sorted(order):
            self.select(torch.tensor(order).argsort())

    def _pieces(self, widths: Sequence[int]) -> list[slice]:
        """Cut lines of ascending widths into pieces of at most PREFILL_TOKENS, padding included, on a CPU."""
        if self._model.device.type != "cpu":
            return [slice(0, len(widths))]
        starts = [0]
        for line, width in enumerate(widths):
            if line > starts[-1] and (line + 1 - starts[-1]) * width > PREFILL_TOKENS:
                starts.append(line)
        return [slice(start, end) for start, end in pairwise([*starts, len(widths)])]

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return token ids and mask, (rows, longest), padded on the left."""
        width = max(map(len, rows))
        ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        return ids.to(self._model.device), mask.to(self._model.device)

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
        name = "cache" if "cache" in self._takes else "past_key_values"  # the latter before transformers 5.24
        more = {"position_ids": positions, "logits_to_keep": 1}
        out = self._model(
            ids,
            attention_mask=None if bool(mask.all()) else mask,
            use_cache=True,
            **{name: self._cache},
            **{key: value for key, value in more.items() if key in self._takes},
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


def shared_lengths(prompts: Sequence[Sequence[int]]) -> list[int]:
    """Return how many tokens of each prompt to read together with other prompts, so that the fewest are read in all.

    Each prompt keeps a token of its own, whose logits are the next token's.
    """
    order = sorted(range(len(prompts)), key=lambda line: list(prompts[line]))
    common = [_common(prompts[a], prompts[b]) for a, b in pairwise(order)]
    best, fewest = [0] * len(prompts), sum(map(len, prompts))
    for least in sorted({n for n in common if n >= WORTH_SHARING}):
        lengths, saved, start = [0] * len(prompts), 0, 0
        for end in range(1, len(order) + 1):
            if end == len(order) or common[end - 1] < least:
                if end - start > 1:
                    length = min(common[start : end - 1])
                    saved += length * (end - start - 1)
                    for line in order[start:end]:
                        lengths[line] = length
                start = end
        if sum(map(len, prompts)) - saved < fewest:
            best, fewest = lengths, sum(map(len, prompts)) - saved
    return best


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Return the number of tokens with which both begin, less than the length of either."""
    limit = min(len(first), len(second)) - 1
    return next((n for n in range(limit) if first[n] != second[n]), max(0, limit))
