"""The log of a training as a picture and as text."""

from pathlib import Path
from typing import Any

from permix.results.reporting import curves

GRPO: list[dict[str, Any]] = [
    {"step": n + 1, "loss": 0.0, "reward": n / 10, "reward_std": 0.1, "completions/mean_length": 20.0}
    for n in range(10)
]
SFT: list[dict[str, Any]] = [{"step": n + 1, "loss": 2.0 - n / 10, "mean_token_accuracy": 0.5} for n in range(10)]


def test_the_course_as_text() -> None:
    assert curves.as_text(GRPO, width=5).splitlines() == [
        "  mean reward                          0 ▁▂▄▆█ 0.9",
        "  its standard deviation             0.1 ▁▁▁▁▁ 0.1",
        "  completion length                   20 ▁▁▁▁▁ 20",
    ]
    assert curves.as_text(SFT, width=100).splitlines()[0] == "  loss on the targets                  2 █▇▆▅▄▄▃▂▁▁ 1.1"


def test_a_quantity_that_some_steps_lack_is_shown_from_the_others() -> None:
    log = [{"step": 1, "reward": None}, {"step": 2, "reward": 0.5, "kl": 0.1}]
    assert [line.split()[0] for line in curves.as_text(log).splitlines()] == ["mean", "KL"]


def test_the_same_log_gives_the_same_picture(tmp_path: Path) -> None:
    for name, log in (("a", GRPO), ("b", GRPO), ("c", SFT), ("d", SFT[:1])):
        curves.training(log, tmp_path / name / "training")
    pictures = {n: (tmp_path / n / "training.png").read_bytes() for n in "abcd"}
    assert pictures["a"] == pictures["b"]
    assert len(set(pictures.values())) == 3
    assert (tmp_path / "a" / "training.svg").read_bytes() == (tmp_path / "b" / "training.svg").read_bytes()
