"""How a stage tells how far it is, and what a run shows of it on stderr: bars on a terminal, else a line at times."""

import sys
import time
from dataclasses import dataclass, field
from typing import Any, Protocol


class Progress(Protocol):
    """What a stage calls now and then; the runner makes rate and time left of it."""

    def __call__(self, done: float, total: float, unit: str, note: str = "") -> None: ...


@dataclass
class _Task:
    started: float
    printed: float
    first: float | None = None
    bar: Any = None


@dataclass
class Board:
    """Progress of all artifacts being made: rate and time left of each."""

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
        """One line of talk."""
        if self.quiet:
            return
        if self._live:
            self._live.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def current(self, target: str) -> None:
        """Tell that an artifact needs nothing."""
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
        """Show how far it is."""
        task, now = self._tasks[target], time.monotonic()
        if task.first is None:  # a resumed run starts above zero, and loading took its time before
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
        """Tell that an artifact was published."""
        self._end(target)
        self.say(f"made     {target} ({seconds:.0f} s)")

    def failed(self, target: str) -> None:
        """Tell that an artifact could not be made."""
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
