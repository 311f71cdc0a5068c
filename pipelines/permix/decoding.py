"""One batch of prompts through a causal LM of transformers, token by token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from permix.sampler import Sampling

PREFILL_TOKENS = 1024
SLACK = 32


@dataclass(frozen=True)
class Row:
    """One completion to decode: the prompt's token ids, how to sample, and the seed of its noise."""

    prompt: list[int]
    sampling: Sampling
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What was decoded for a row; `tokens` counts the end token and the stop string too."""

    text: str
    tokens: int
    finish: Literal["stop", "length"]


@torch.inference_mode()
def decode(model: Any, tokenizer: Any, ends: Sequence[int], rows: Sequence[Row]) -> list[Outcome]:
    """Sample one completion for every row."""
    limits = torch.tensor([row.sampling.max_tokens for row in rows])
    device = model.device
    is_end = torch.zeros(model.get_input_embeddings().num_embeddings, dtype=torch.bool)
    is_end[list(ends)] = True
    pick = Picker(rows, device)
    tokens = torch.zeros(len(rows), int(limits.max()), dtype=torch.long)
    has_stop = torch.tensor([bool(row.sampling.stop) for row in rows])
    counts = torch.zeros_like(limits)
    stopped = torch.zeros(len(rows), dtype=torch.bool)
    cut: dict[int, str] = {}  # rows that met a stop string, and their text before it

    state = _prefill(model, rows, int(limits.max()))
    alive = torch.arange(len(rows))  # the row that each line of the batch belongs to
    going = torch.ones(len(rows), dtype=torch.bool)  # lines that still decode; the others wait to be dropped
    for step in range(tokens.shape[1]):
        chosen = pick(state.logits, alive, step)
        tokens[alive, step] = chosen
        ended = is_end[chosen]
        for line in (going & ~ended & has_stop[alive]).nonzero()[:, 0].tolist():
            row = int(alive[line])
            if (text := _before(rows[row].sampling.stop, tokenizer, tokens[row, : step + 1])) is not None:
                cut[row], ended[line] = text, True
        over = going & (ended | (limits[alive] == step + 1))
        counts[alive[over]], stopped[alive[over]] = step + 1, ended[over]
        going = going & ~over
        if not bool(going.any()):
            break
        if int((~going).sum()) * SLACK >= len(going):
            lines = _fill_holes(going)
            state.select(lines)
            alive, chosen, going = alive[lines], chosen[lines], going[lines]
        state.advance(model, chosen.to(device))
    texts = tokenizer.batch_decode([t[:n].tolist() for t, n in zip(tokens, counts, strict=True)], skip_special_tokens=True)
    return [
        Outcome(cut.get(i, text), int(n), "stop" if done else "length")
        for i, (text, n, done) in enumerate(zip(texts, counts, stopped, strict=True))
    ]


class Picker:
    """Chooses tokens by the inverse of the distribution function: one uniform number per row and step."""

    def __init__(self, rows: Sequence[Row], device: torch.device) -> None:
        """Draw the uniform numbers of every row from its own seed."""
        noise = np.zeros((len(rows), max(row.sampling.max_tokens for row in rows)), dtype=np.float32)
        for line, row in zip(noise, rows, strict=True):
            n = row.sampling.max_tokens
            line[:n] = np.random.Generator(np.random.Philox(key=row.seed % 2**128)).random(n, dtype=np.float32)
        self._noise = torch.from_numpy(noise).to(device)
        self._temperature = torch.tensor([row.sampling.temperature for row in rows], device=device)
        self._top_p = torch.tensor([row.sampling.top_p for row in rows], device=device)

    def __call__(self, logits: torch.Tensor, alive: torch.Tensor, step: int) -> torch.Tensor:
        """Token ids for the lines of `logits`, of which line i belongs to row alive[i]."""
        alive = alive.to(logits.device)
        temperature, top_p = self._temperature[alive, None], self._top_p[alive, None]
        greedy = temperature[:, 0] == 0
        logits = logits.float()
        best = logits.argmax(-1) if bool(greedy.any()) else None
        weights = torch.softmax(logits / temperature.masked_fill(temperature == 0, 1.0), -1)
        if bool((top_p < 1).any()):
            ordered, order = weights.sort(-1, descending=True, stable=True)
            drop = (ordered.cumsum(-1) - ordered >= top_p) & (top_p < 1)
            weights = weights.masked_fill(torch.zeros_like(drop).scatter(-1, order, drop), 0.0)
        cumulated = weights.cumsum(-1)
        total = cumulated[:, -1:]
        at = torch.minimum(self._noise[alive, step, None] * total, torch.nextafter(total, torch.zeros_like(total)))
        chosen = torch.searchsorted(cumulated, at, right=True)[:, 0]
        return (chosen if best is None else torch.where(greedy, best, chosen)).cpu()


class _Layer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one attention layer in one piece of memory, so that a step copies one column only."""

    def __init__(self, rows: int, capacity: int) -> None:
        super().__init__()
        self._shape = rows, capacity
        self.open(slice(None), 0)

    def open(self, window: slice, start: int) -> None:
        """Write to the lines in `window` from column `start` on."""
        self._window, self._start, self._end = window, start, start

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        rows, capacity = self._shape
        self.keys, self.values = (s.new_empty(rows, s.shape[1], capacity, s.shape[3]) for s in (key_states, value_states))
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old, self._end = self._end, self._end + key_states.shape[2]
        for kept, new in ((self.keys, key_states), (self.values, value_states)):
            if old == self._start:
                kept[self._window, :, :old] = 0  # padding: masked, but NaN x 0 would spoil the sum
            kept[self._window, :, old : self._end] = new
        return tuple(t[self._window, :, self._start : self._end] for t in (self.keys, self.values))

    def get_seq_length(self) -> int:
        return self._end - self._start

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        if len(indices) > len(self.keys):
            self.keys, self.values = self.keys[indices], self.values[indices]
            return
        moved = (indices != torch.arange(len(indices), device=indices.device)).nonzero()[:, 0]
        for kept in (self.keys, self.values):
            kept[moved, :, : self._end] = kept[indices[moved], :, : self._end]
        self.keys, self.values = self.keys[: len(indices)], self.values[: len(indices)]


class _State:
    def __init__(self, cache: Any, logits: torch.Tensor, mask: torch.Tensor) -> None:
        self.cache, self.logits, self.mask = cache, logits, mask
        self.positions = mask.sum(-1, keepdim=True)
        self.padded = bool((mask == 0).any())

    def select(self, lines: torch.Tensor) -> None:
        lines = lines.to(self.mask.device)
        self.cache.batch_select_indices(lines)
        self.mask, self.positions, self.logits = self.mask[lines], self.positions[lines], self.logits[lines]

    def advance(self, model: Any, chosen: torch.Tensor) -> None:
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], -1)
        out = model(
            chosen[:, None],
            attention_mask=self.mask if self.padded else None,
            position_ids=self.positions,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.positions = self.positions + 1
        self.logits = out.logits[:, -1]


def _fill_holes(going: torch.Tensor) -> torch.Tensor:
    """Lines to keep, in an order that moves as few as possible: the last ones go where lines are over."""
    stay = going.nonzero()[:, 0]
    lines = torch.arange(len(stay))
    holes = (~going)[: len(stay)].nonzero()[:, 0]
    lines[holes] = stay[len(stay) - len(holes) :]
    return lines


def _prefill(model: Any, rows: Sequence[Row], more: int) -> _State:
    """Read each distinct prompt once, a few at a time, then give every row its copy."""
    prompts = list(dict.fromkeys(tuple(row.prompt) for row in rows))
    width = max(map(len, prompts))
    cache = DynamicCache(config=model.config)
    plain = all(type(layer) is DynamicLayer for layer in cache.layers)
    if plain:
        cache.layers = [_Layer(len(prompts), width + more) for _ in cache.layers]
    size = max(1, PREFILL_TOKENS // width) if plain else len(prompts)
    logits, masks = [], []
    for first in range(0, len(prompts), size):
        part = prompts[first : first + size]
        here = max(map(len, part))
        ids = torch.tensor([[0] * (here - len(p)) + list(p) for p in part], device=model.device)
        mask = torch.tensor([[0] * (here - len(p)) + [1] * len(p) for p in part], device=model.device)
        if plain:
            for layer in cache.layers:
                layer.open(slice(first, first + len(part)), width - here)
        out = model(
            ids,
            attention_mask=mask if bool((mask == 0).any()) else None,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits.append(out.logits[:, -1])
        masks.append(torch.nn.functional.pad(mask, (width - here, 0)))
    if plain:
        for layer in cache.layers:
            layer.open(slice(None), 0)
            layer._end = width
    state = _State(cache, torch.cat(logits), torch.cat(masks))
    if len(prompts) < len(rows):
        at = {p: i for i, p in enumerate(prompts)}
        state.select(torch.tensor([at[tuple(row.prompt)] for row in rows]))
    return state


def _before(stop: Sequence[str], tokenizer: Any, tokens: torch.Tensor) -> str | None:
    text: str = tokenizer.decode(tokens.tolist(), skip_special_tokens=True)
    found = [at for at in (text.find(s) for s in stop) if at >= 0]
    return text[: min(found)] if found else None


