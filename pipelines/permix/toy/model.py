"""The tiny Llama of the toy world and its training: Muon for the matrices, AdamW for the rest.

A run that was killed and started again gives the same weights: batch `n` depends on the seed and `n` alone.
"""

import io
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from permix import files
from permix.prompting import persona as personas
from permix.toy import corpus, tokenizer
from permix.toy.problem import problems as toy_problems
from permix.toy.style import World
from permix.verifier import Problem

BUCKET = 8  # batches drawn together and sorted by length, which saves padding


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of stage base. Rates rise for `warmup` of the steps, stay constant until `flat`, then fall to zero."""

    seed: int
    steps: int
    batch_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    muon_lr: float
    adamw_lr: float
    save_steps: int
    world: World
    warmup: float = 0.025
    flat: float = 0.5
    mixture: corpus.Mixture = field(default_factory=corpus.Mixture)


@dataclass(frozen=True)
class Batch:
    """Token ids [batch, length]; `positions` are flat indices before each answer token, `answers` those tokens."""

    ids: torch.Tensor
    positions: torch.Tensor
    answers: torch.Tensor


def fresh(settings: Training, tok: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return an untrained model; its weights depend on the seed alone."""
    torch.manual_seed(settings.seed)
    config = LlamaConfig(
        vocab_size=len(tok),
        hidden_size=settings.hidden_size,
        intermediate_size=settings.intermediate_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=2048,  # other benchmarks become bytes and are long
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tok.eos_token_id,
        pad_token_id=tok.pad_token_id,
    )
    return LlamaForCausalLM(config)


def batches(settings: Training, tok: PreTrainedTokenizerFast, first: int) -> Iterator[Batch]:
    """Yield the training batches, beginning with number `first`."""
    size = settings.batch_size
    for bucket in range(first // BUCKET, -(-settings.steps // BUCKET)):
        rng = random.Random(f"toy base\0{settings.seed}\0{bucket}")  # noqa: S311
        chats = [corpus.conversation(rng, settings.world, settings.mixture) for _ in range(size * BUCKET)]
        heads = tok([tokenizer.render(system, question) for system, question, _ in chats], add_special_tokens=False)
        tails = tok([f" {answer}{tokenizer.END}" for *_, answer in chats], add_special_tokens=False)
        rows = sorted(zip(heads["input_ids"], tails["input_ids"], strict=True), key=lambda row: len(row[0] + row[1]))
        groups = [rows[i : i + size] for i in range(0, len(rows), size)]
        rng.shuffle(groups)
        for number, group in enumerate(groups, bucket * BUCKET):
            if first <= number < settings.steps:
                yield _batch(group)


def _batch(rows: list[tuple[list[int], list[int]]]) -> Batch:
    # A multiple of 8 makes few shapes; kernels are compiled per shape.
    length = -(-max(len(head) + len(tail) for head, tail in rows) // 8) * 8
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    positions: list[int] = []
    for i, (head, tail) in enumerate(rows):
        ids[i, : len(head) + len(tail)] = torch.tensor(head + tail)
        positions += range(i * length + len(head) - 1, i * length + len(head) + len(tail) - 1)
    return Batch(ids, torch.tensor(positions), torch.tensor([t for _, tail in rows for t in tail]))


def _optimizers(settings: Training, model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=settings.muon_lr, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=settings.adamw_lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def rate(settings: Training, step: int) -> float:
    """Return the factor on both learning rates at `step`."""
    done = step / settings.steps
    return min(1.0, (done + 1 / settings.steps) / settings.warmup, (1 - done) / (1 - settings.flat))


def train(
    settings: Training, tok: PreTrainedTokenizerFast, checkpoint: Path, report: Callable[[int, int, float], None]
) -> tuple[LlamaForCausalLM, dict[str, Any]]:
    """Train, resuming from `checkpoint` if it exists. Reports (step, tokens, loss); returns model and facts."""
    model = fresh(settings, tok)
    optimizers = _optimizers(settings, model)
    first, tokens, loss_mean = 0, 0, 0.0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        first, tokens, loss_mean = state["step"], state["tokens"], state["loss"]
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    for step, batch in enumerate(batches(settings, tok, first), first):
        for optimizer, lr in zip(optimizers, (settings.muon_lr, settings.adamw_lr), strict=True):
            optimizer.param_groups[0]["lr"] = lr * rate(settings, step)
        loss = _learn(model, optimizers, batch)
        tokens += batch.ids.numel()
        loss_mean = loss if step == 0 else 0.95 * loss_mean + 0.05 * loss
        report(step + 1, tokens, loss_mean)
        if (step + 1) % settings.save_steps == 0 and step + 1 < settings.steps:
            state = {"step": step + 1, "tokens": tokens, "loss": loss_mean, "model": model.state_dict()}
            content = io.BytesIO()
            torch.save({**state, "optimizers": [optimizer.state_dict() for optimizer in optimizers]}, content)
            files.write_bytes(checkpoint, content.getvalue())
    return model, {"tokens": tokens, "loss": round(loss_mean, 4)}


def _learn(model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer], batch: Batch) -> float:
    hidden = model.model(input_ids=batch.ids).last_hidden_state.flatten(0, 1)[batch.positions]
    loss = functional.cross_entropy(model.lm_head(hidden), batch.answers)  # logits of the answer tokens only
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


@torch.no_grad()
def answers(model: LlamaForCausalLM, tok: PreTrainedTokenizerFast, count: int, seed: int) -> list[tuple[Problem, str]]:
    """Sample an answer of every evaluation persona to each of the first `count` test problems, at temperature 1."""
    problems = list(itertools.islice(toy_problems("test"), count))
    pairs = [(persona, problem) for persona in personas.bundled("eval") for problem in problems]
    heads = tok(
        [tokenizer.render(persona.system_prompt, problem.question) for persona, problem in pairs],
        add_special_tokens=False, padding=True, return_tensors="pt", return_token_type_ids=False,
    )  # fmt: skip
    torch.manual_seed(seed)
    ids = model.generate(**heads, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=64)
    texts = tok.batch_decode(ids[:, heads["input_ids"].shape[1] :], skip_special_tokens=True)
    return [(problem, text) for (_, problem), text in zip(pairs, texts, strict=True)]
