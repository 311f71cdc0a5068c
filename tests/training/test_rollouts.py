"""What the reward function tells on the way, and that the reward stays the verifier's."""

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from permix.training import rollouts
from permix.verifier import accuracy_reward


def metrics_of(folder: Path, step: int, completions: list[str], personas: list[str | None]) -> dict[str, Any]:
    reward = rollouts.Reward(folder)
    reward.ends = frozenset({1})
    logged: dict[str, Any] = defaultdict(list)
    count = len(completions)
    columns: dict[str, Any] = {"gold": ["4"] * count, "kind": ["math"] * count}
    chats = [[{"role": "assistant", "content": text}] for text in completions]
    scores = reward(
        prompts=[[{"role": "user", "content": "2 + 2?"}]] * count, completions=chats,
        completion_ids=[[7, 1] if "." in text else [7, 7] for text in completions], persona=personas,
        problem_id=[f"p/{n}" for n in range(count)],
        trainer_state=SimpleNamespace(global_step=step - 1, is_world_process_zero=True),
        log_metric=lambda name, value: logged[name].append(value),
        log_extra=lambda name, values: logged[name].extend(values), **columns,
    )  # fmt: skip
    assert scores == accuracy_reward(chats, **columns)
    return dict(logged)


def test_accuracy_and_truncation_by_persona(tmp_path: Path) -> None:
    texts = ["The answer is 4.", "The answer is 5", "It is \\boxed{4}"]
    metrics = metrics_of(tmp_path, 1, texts, ["chef", "chef", None])
    assert (metrics["persona/chef/accuracy"], metrics["persona/chef/truncated"]) == ([0.5], [0.5])
    assert (metrics["persona/none/accuracy"], metrics["persona/none/truncated"]) == ([1.0], [1.0])
    assert (metrics["status"], metrics["persona"]) == (["correct", "wrong", "correct"], ["chef", "chef", "none"])


def test_samples_are_those_of_the_first_and_the_last_step(tmp_path: Path) -> None:
    for step, personas in ((2, ["chef", "chef"]), (10, ["chef", None]), (11, ["chef", "poet"])):
        metrics_of(tmp_path, step, ["The answer is 4.", "The answer is 5."], list(personas))
    samples = rollouts.samples(tmp_path)
    assert [(row["step"], row["persona"]) for row in samples] == [(2, "chef"), (10, "none"), (11, "chef"), (11, "poet")]
    assert (samples[0]["completion"], samples[0]["score"]) == ("The answer is 4.", 1.0)
    assert not samples[0]["truncated"]
    metrics_of(tmp_path, 10, ["The answer is 4.", "The answer is 5."], ["chef", None])  # done again after a kill
    assert rollouts.samples(tmp_path) == samples


def test_the_end_of_training_by_persona() -> None:
    log: list[dict[str, Any]] = [{"persona/chef/accuracy": 0.0} for _ in range(18)]
    log += [{"persona/a/b/accuracy": 1.0, "persona/a/b/truncated": 0.0}, {"persona/a/b/accuracy": 0.5, "reward": 1}]
    assert rollouts.by_persona(log) == {"a/b": {"accuracy": 0.75, "truncated": 0.0}}
