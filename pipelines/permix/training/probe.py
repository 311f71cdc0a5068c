"""Probes of a training: a few of its problems, again and again, under every persona of the evaluation pool.

A training with probes ends in the same weights as one without: completions take their noise from seeds of their own,
and nothing is changed. What was found lies in the trainer's log, so that checkpoints carry it. So few answers show a
course; what a variant is worth is for sweeps to say.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permix.prompting import persona
from permix.prompting.prompts import Messages
from permix.sampling.sampler import EncodedRequest, Sampling, seed_of

if TYPE_CHECKING:
    from permix.training.grpo_settings import Config

Row = dict[str, Any]
KEY = "probe"
DRAWS = 200
KEPT = ("worst", "best", "mean", "pss", "pss_null")


def questions(config: "Config", table: Sequence[Row], personas: Path) -> list[Row]:
    """The first `probe_problems` problems of a mixture under every persona, with `prompt`, `gold`, `kind` and names."""
    problems = {row["problem_id"]: row for row in reversed(table)}
    chosen = [
        problems[name] for name in list(dict.fromkeys(row["problem_id"] for row in table))[: config.probe_problems]
    ]
    return [
        {**row, "persona": who.key, "prompt": _under(who, row["prompt"])}
        for row in chosen
        for who in persona.load(personas, "eval")
    ]


def callback(config: "Config", tokenizer: Any, asked: Sequence[Row]) -> Any:
    """The callback that probes before the first step, after every `probe_steps` steps and after the last one."""
    import torch
    from transformers import TrainerCallback

    from permix.training import rows

    prompts = rows.token_ids(tokenizer, [row["prompt"] for row in asked], add_generation_prompt=True)

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
                answers = list(_answers(config, tokenizer, model.get_base_model(), prompts, asked))
            model.train(training)
            state.log_history.append({"step": state.global_step, KEY: _numbers(config, asked, answers)})

    return Probe()


def found(log: Sequence[Row]) -> list[Row]:
    """The probes in a trainer's log: `step`, the numbers KEPT, and `fidelity`; None where one is not defined.

    Fidelity is voice in the toy world and recovery elsewhere.
    """
    return [{"step": entry["step"], **entry[KEY]} for entry in log if KEY in entry]


def _under(who: persona.Persona, chat: Messages) -> Messages:
    return [{"role": "system", "content": who.system_prompt}, *(said for said in chat if said["role"] != "system")]


def _answers(
    config: "Config", tokenizer: Any, model: Any, prompts: Sequence[list[int]], asked: Sequence[Row]
) -> Iterator[str]:
    from permix.sampling.engines.decoding import decode
    from permix.sampling.engines.local import end_tokens

    sampling = Sampling(temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_completion_length)
    ends = end_tokens(tokenizer, model.config, model.generation_config)
    lines = [
        EncodedRequest(prompt, sampling, seed_of(KEY, config.seed, row["problem_id"], row["persona"]))
        for prompt, row in zip(prompts, asked, strict=True)
    ]  # the same noise at every step, so that what moves is the model
    for first in range(0, len(lines), config.per_device_train_batch_size):
        part = lines[first : first + config.per_device_train_batch_size]
        yield from (outcome.text for outcome in decode(model, tokenizer, ends, part))


def _numbers(config: "Config", asked: Sequence[Row], answers: Sequence[str]) -> Row:
    """What the answers amount to; a problem whose grading failed on our side is left out under every persona."""
    from permix.results.measures import sweep_numbers
    from permix.verifier import accuracy_reward

    scores = accuracy_reward(answers, [row["gold"] for row in asked], [row["kind"] for row in asked])
    failed = {row["problem_id"] for row, score in zip(asked, scores, strict=True) if score is None}
    unknown = dict.fromkeys(("finish", "tokens_out", "status", "extracted"))
    table = [
        {"problem_id": row["problem_id"], "persona": row["persona"], "run": 0, "completion": text, "score": score}
        | unknown
        for row, text, score in zip(asked, answers, scores, strict=True)
        if row["problem_id"] not in failed
    ]
    if not table:
        return dict.fromkeys((*KEPT, "fidelity"))
    measured = sweep_numbers.of_rows(table, draws=DRAWS, toy=config.toy)
    recovered = (measured["recovery"] or {}).get("accuracy")
    return {key: measured["pss"][key] for key in KEPT} | {"fidelity": measured["voice"] if config.toy else recovered}
