"""What GRPO's completions tell: the reward, accuracy and truncation under each persona, and samples to read.

The reward is permix.verifier's and stays what it is; the rest is looked at on the way.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from permix import files
from permix.verifier import accuracy_reward

PLAIN = "none"  # the name of "no persona", as in sweeps


class Reward:
    """TRL's reward function: `permix.verifier.accuracy_reward`, which also logs by persona and keeps samples.

    `ends` are the ids of the tokens that end a completion, known once the trainer is there. Samples go to
    `folder/<step>-<rank>.json`; a step that is done again after a kill writes its file again, with the same content.
    """

    __name__ = accuracy_reward.__name__  # TRL names the metric after it

    def __init__(self, folder: Path) -> None:
        """Keep samples below `folder`."""
        self.folder = folder
        self.rank = os.environ.get(
            "RANK", "0"
        )  # of several processes, each has other completions (permix.pipeline.ranks)
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
        """The score of each completion; a row without reward (None) counts for no accuracy."""
        statuses: list[str] = []

        def keep(name: str, values: list[Any]) -> None:
            log_extra(name, values)
            if name == "status":
                statuses.extend(values)

        scores = accuracy_reward(completions, log_extra=keep, **columns)
        names = [who or PLAIN for who in persona]
        cut = [not ids or ids[-1] not in self.ends for ids in completion_ids]
        log_extra("persona", names)
        for name in sorted(set(names)):
            mine = [number for number, who in enumerate(names) if who == name]
            log_metric(f"persona/{name}/truncated", sum(cut[n] for n in mine) / len(mine))
            graded = [score for n in mine if (score := scores[n]) is not None]
            if graded:
                log_metric(f"persona/{name}/accuracy", sum(graded) / len(graded))
        self._keep(trainer_state.global_step + 1, prompts, completions, names, problem_id, scores, statuses, cut)
        return scores

    def _keep(
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
    """For each persona, one completion of the first and one of the last step that met it, in the order of steps."""
    steps = sorted(folder.glob("*.json"), key=lambda path: [int(part) for part in path.stem.split("-")])
    rows = [row for path in steps for row in json.loads(path.read_text(encoding="utf-8"))]
    last = {row["persona"]: row for row in rows}
    first = {row["persona"]: row for row in reversed(rows)}
    chosen = {(row["step"], row["persona"]): row for row in (*first.values(), *last.values())}
    return [chosen[key] for key in sorted(chosen)]


def by_persona(log: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """{persona: accuracy and share of truncated completions over the last tenth of the log}, where it met them."""
    tail = log[-max(1, len(log) // 10) :]
    found: dict[str, dict[str, list[float]]] = {}
    for entry in tail:
        for name, value in entry.items():
            if name.startswith("persona/") and value is not None:
                who, _, what = name.removeprefix("persona/").rpartition("/")
                found.setdefault(who, {}).setdefault(what, []).append(value)
    return {
        who: {what: sum(values) / len(values) for what, values in sorted(of.items())}
        for who, of in sorted(found.items())
    }
