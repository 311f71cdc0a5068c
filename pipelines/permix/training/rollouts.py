"""GRPO's rollouts: their reward, accuracy and truncation under each persona, and samples to read."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from permix import files
from permix.verifier import accuracy_reward

PLAIN = "none"  # no persona, as in sweeps


class Reward:
    """TRL's reward function: `permix.verifier.accuracy_reward`, which also logs by persona and writes samples.

    `ends` are the ids of the tokens that end a completion, set once the trainer exists. Samples go to
    `folder/<step>-<rank>.json`; a step that is repeated after a kill writes the same file again.
    """

    __name__ = accuracy_reward.__name__  # TRL names the metric after it

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rank = os.environ.get("RANK", "0")  # each process has other completions (permix.pipeline.ranks)
        self.ends: frozenset[int] = frozenset()

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        persona: Sequence[str | None],
        problem_id: Sequence[str],
        trainer_state: Any,
        log_metric: Callable[[str, float], None],
        log_extra: Callable[[str, list[Any]], None],
        **columns: Any,
    ) -> list[float | None]:
        """Return the score of each completion; None, for a failed grading, does not count in the accuracy."""
        statuses: list[str] = []

        def log_column(name: str, values: list[Any]) -> None:
            log_extra(name, values)
            if name == "status":
                statuses.extend(values)

        scores = accuracy_reward(completions, log_extra=log_column, **columns)
        names = [name or PLAIN for name in persona]
        cut = [not ids or ids[-1] not in self.ends for ids in completion_ids]
        log_extra("persona", names)
        for name in sorted(set(names)):
            rows = [row for row, persona_of_row in enumerate(names) if persona_of_row == name]
            log_metric(f"persona/{name}/truncated", sum(cut[row] for row in rows) / len(rows))
            graded = [score for row in rows if (score := scores[row]) is not None]
            if graded:
                log_metric(f"persona/{name}/accuracy", sum(graded) / len(graded))
        self._write(trainer_state.global_step + 1, prompts, completions, names, problem_id, scores, statuses, cut)
        return scores

    def _write(
        self,
        step: int,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        names: Sequence[str],
        problem_id: Sequence[str],
        scores: Sequence[float | None],
        statuses: Sequence[str],
        cut: Sequence[bool],
    ) -> None:
        first = {name: number for number, name in reversed(list(enumerate(names)))}
        rows = [
            {
                "step": step,
                "persona": name,
                "problem_id": problem_id[n],
                "prompt": prompts[n],
                "completion": completions[n][-1]["content"],
                "status": statuses[n],
                "score": scores[n],
                "truncated": cut[n],
            }
            for name, n in sorted(first.items())
        ]
        files.write_json(self.folder / f"{step}-{self.rank}.json", rows)


def samples(folder: Path) -> list[dict[str, Any]]:
    """Return one completion of the first and one of the last step of each persona, in the order of steps."""
    steps = sorted(folder.glob("*.json"), key=lambda path: [int(part) for part in path.stem.split("-")])
    rows = [row for path in steps for row in json.loads(path.read_text(encoding="utf-8"))]
    last = {row["persona"]: row for row in rows}
    first = {row["persona"]: row for row in reversed(rows)}
    chosen = {(row["step"], row["persona"]): row for row in (*first.values(), *last.values())}
    return [chosen[key] for key in sorted(chosen)]


def by_persona(log: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return {persona: {metric: mean over the last tenth of the log}} of accuracy and share of truncated rollouts."""
    values: dict[str, dict[str, list[float]]] = {}
    for entry in log[-max(1, len(log) // 10) :]:
        for name, value in entry.items():
            if name.startswith("persona/") and value is not None:
                persona, _, metric = name.removeprefix("persona/").rpartition("/")
                values.setdefault(persona, {}).setdefault(metric, []).append(value)
    return {
        persona: {metric: sum(v) / len(v) for metric, v in sorted(metrics.items())}
        for persona, metrics in sorted(values.items())
    }
