"""What a run shows: lines on a pipe, bars on a terminal."""

import io
import sys
import time

import pytest

from permix import progress
from permix.progress import Board


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds, as one sets it."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_pipe_gets_one_line_per_event(capsys: pytest.CaptureFixture[str]) -> None:
    with Board() as board:
        board.current("o/a")
        board.start("o/b")
        board.done("o/b", 12.4)
        board.start("o/c")
        board.failed("o/c")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["current  o/a", "making   o/b", "made     o/b (12 s)", "making   o/c", "FAILED   o/c"]


def test_progress_lines_have_rate_and_time_left(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    board = Board(every=10)
    board.start("o/a")
    clock[0] += 60  # loading takes its time and is not part of the rate
    board.update("o/a", 40, 100, "steps")  # a resumed run
    clock[0] += 5
    board.update("o/a", 50, 100, "steps")
    clock[0] += 5
    board.update("o/a", 60, 100, "steps", "reward 0.50")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "making   o/a", "         o/a: 40/100 steps, 0/s", "         o/a: 60/100 steps, 2/s, reward 0.50, 20 s left",
    ]  # fmt: skip


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Board(quiet=True, every=0) as board:
        board.current("o/a")
        board.start("o/b")
        board.update("o/b", 1, 2, "steps")
        board.failed("o/b")
        board.failed("o/never-started")
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with Board() as board:
        board.start("datasets/o/a")
        board.update("datasets/o/a", 3, 10, "steps", "loss 0.1")
        deadline = time.monotonic() + 60
        while "3/10 steps" not in screen.getvalue() and time.monotonic() < deadline:  # rich draws ten times a second
            time.sleep(0.01)
        board.done("datasets/o/a", 3.0)
        board.say("[1/2] kept as it is")
    shown = screen.getvalue()
    parts = ("3/10 steps", "loss 0.1", "made     datasets/o/a (3 s)", "[1/2] kept as it is")
    assert [part for part in parts if part not in shown] == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.123456, "0.123"), (99.5, "99.5"), (1234, "1234"), (12_345, "12.3k"), (4.56e6, "4.56M"), (7e9, "7G")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert progress._short(value) == text
