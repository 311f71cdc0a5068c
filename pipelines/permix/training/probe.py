"""Probes of a training: a few of its problems, repeatedly, under every persona of the evaluation pool.

Probes do not change the weights: their completions have their own seeds. Their numbers are in the trainer's log, and
so in its checkpoints. A probe has few answers: it shows the course of a training, and sweeps measure a variant.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permix.parquet import Row
from permix.prompting import persona
from permix.prompting.persona import Persona
from permix.prompting.prompts import Messages
from permix.sampling.sampler import EncodedRequest, Sampling, seed_of

if TYPE_CHECKING:
    from permix.training.grpo_settings import Config

KEY = "probe"
DRAWS = 200
STATISTICS = ("worst", "best", "mean", "pss", "pss_null")


def questions(config: "Config", table: Sequence[Row], personas: Path) -> list[Row]:
    """Return the first `probe_problems` problems of a mixture under every persona, as rows of the mixture."""
    problems: dict[str, Row] = {}
    for row in table:
        problems.setdefault(row["problem_id"], row)
    return [
        {**row, "persona": each.key, "prompt": _under(each, row["prompt"])}
        for row in list(problems.values())[: config.probe_problems]
        for each in persona.load(personas, "eval")
    ]


def callback(config: "Config", tokenizer: Any, questions: Sequence[Row]) -> Any:
    """Return the callback that probes before the first step, after every `probe_steps` steps and after the last."""
    import torch
    from transformers import TrainerCallback

    from permix.training import rows

    prompts = rows.token_ids(tokenizer, [row["prompt"] for row in questions], add_generation_prompt=True)

    class Probe(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **live: Any) -> None:
            if state.global_step == 0:
                self._probe(args, state, live["model"])

        def on_step_end(self, args: Any, state: Any, control: Any, **live: Any) -> None:
            if state.global_step % config.probe_steps == 0 or state.global_step == state.max_steps:
                self._probe(args, state, live["model"])

        def _probe(self, args: Any, state: Any, model: Any) -> None:
            half = torch.bfloat16 if args.bf16 else torch.float16
            training = model.training
            model.eval()
            with torch.autocast(model.device.type, dtype=half, enabled=args.bf16 or args.fp16):
                answers = list(_answers(config, tokenizer, model.get_base_model(), prompts, questions))
            model.train(training)
            state.log_history.append({"step": state.global_step, KEY: _numbers(config, questions, answers)})

    return Probe()


def of_log(log: Sequence[Row]) -> list[Row]:
    """Return the probes in a trainer's log, None if undefined; fidelity: voice in the toy world, else recovery."""
    return [{"step": entry["step"], **entry[KEY]} for entry in log if KEY in entry]


def _under(persona: Persona, chat: Messages) -> Messages:
    return [{"role": "system", "content": persona.system_prompt}, *(m for m in chat if m["role"] != "system")]


def _answers(
    config: "Config", tokenizer: Any, model: Any, prompts: Sequence[list[int]], questions: Sequence[Row]
) -> Iterator[str]:
    from permix.sampling.engines.decoding import decode
    from permix.sampling.engines.local import end_tokens

    sampling = Sampling(temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_completion_length)
    ends = end_tokens(tokenizer, model.config, model.generation_config)
    requests = [
        EncodedRequest(prompt, sampling, seed_of(KEY, config.seed, row["problem_id"], row["persona"]))
        for prompt, row in zip(prompts, questions, strict=True)
    ]  # the same seeds in every probe, so that only the model changes
    for first in range(0, len(requests), config.per_device_train_batch_size):
        batch = requests[first : first + config.per_device_train_batch_size]
        yield from (outcome.text for outcome in decode(model, tokenizer, ends, batch))


def _numbers(config: "Config", questions: Sequence[Row], answers: Sequence[str]) -> Row:
    """Return the numbers of a probe; a problem that could not be graded is omitted under every persona."""
    from permix.results.measures import sweep_numbers
    from permix.verifier import accuracy_reward

    scores = accuracy_reward(answers, [row["gold"] for row in questions], [row["kind"] for row in questions])
    failed = {row["problem_id"] for row, score in zip(questions, scores, strict=True) if score is None}
    unknown = dict.fromkeys(("finish", "tokens_out", "status", "extracted"))
    table = [
        {"problem_id": row["problem_id"], "persona": row["persona"], "run": 0, "completion": text, "score": score}
        | unknown
        for row, text, score in zip(questions, answers, scores, strict=True)
        if row["problem_id"] not in failed
    ]
    if not table:
        return dict.fromkeys((*STATISTICS, "fidelity"))
    measured = sweep_numbers.of_rows(table, draws=DRAWS, toy=config.toy)
    fidelity = measured["voice"] if config.toy else (measured["recovery"] or {}).get("accuracy")
    return {key: measured["pss"][key] for key in STATISTICS} | {"fidelity": fidelity}
