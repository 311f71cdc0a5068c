"""The progress of stages, shown on stderr: bars on a terminal, otherwise a line every few seconds."""

import sys
import time
from dataclasses import dataclass, field
from typing import Any, Protocol


class Progress(Protocol):
    """A stage calls this to report its progress; the runner computes rate and time left."""

    def __call__(self, done: float, total: float, unit: str, note: str = "") -> None: ...


@dataclass
class _Task:
    started: float
    printed: float
    first: float | None = None
    bar: Any = None


@dataclass
class Board:
    """Progress of all artifacts in work, each with rate and time left."""

    quiet: bool = False
    every: float = 10.0
    _tasks: dict[str, _Task] = field(default_factory=dict)
    _live: Any = None

    def __post_init__(self) -> None:
        if sys.stderr.isatty() and not self.quiet:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("elapsed,"),
                TimeRemainingColumn(),
                TextColumn("left"),
            )
            self._live = Progress(*columns, console=Console(stderr=True), transient=False)

    def __enter__(self) -> "Board":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print one line."""
        if self.quiet:
            return
        if self._live:
            self._live.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def current(self, target: str) -> None:
        """Report that an artifact is current."""
        self.say(f"current  {target}")

    def start(self, target: str) -> None:
        """Begin to show an artifact."""
        now = time.monotonic()
        self._tasks[target] = _Task(now, now)
        if self._live:
            self._tasks[target].bar = self._live.add_task(target, total=None, rate="")
        else:
            self.say(f"making   {target}")

    def update(self, target: str, done: float, total: float, unit: str, note: str = "") -> None:
        """Show the progress of an artifact."""
        task, now = self._tasks[target], time.monotonic()
        if task.first is None:  # a resumed run starts above zero, and loading is not part of the rate
            task.first, task.started = done, now
        rate = (done - task.first) / max(now - task.started, 1e-9)
        speed = f"{_short(done)}/{_short(total)} {unit}, {_short(rate)}/s" + (f", {note}" if note else "")
        if self._live:
            self._live.update(task.bar, completed=done, total=total, rate=speed)
        elif now - task.printed >= self.every:
            task.printed = now
            left = f", {(total - done) / rate:.0f} s left" if rate > 0 else ""
            self.say(f"         {target}: {speed}{left}")

    def done(self, target: str, seconds: float) -> None:
        """Report that an artifact was published."""
        self._end(target)
        self.say(f"made     {target} ({seconds:.0f} s)")

    def failed(self, target: str) -> None:
        """Report that an artifact failed."""
        self._end(target)
        self.say(f"FAILED   {target}")

    def _end(self, target: str) -> None:
        task = self._tasks.pop(target, None)
        if self._live and task is not None:
            self._live.remove_task(task.bar)


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
