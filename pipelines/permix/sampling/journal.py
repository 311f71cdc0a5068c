"""Finished batches of completions on the disk, so that a killed call resumes."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Self

from permix.progress import Progress
from permix.sampling.sampler import Completion


class Journal:
    """One JSONL file: a header line that identifies the call, then one line per finished batch.

    A line is on the disk before its completions are handed out, and a torn last line is dropped, so a batch is stored
    completely or not at all. A journal with another header is moved to `<name>.old`, and `note` says why. Without a
    path nothing is stored.
    """

    def __init__(self, path: Path | None, header: dict[str, Any]) -> None:
        """Open or begin the journal at `path`; `header` is compared key by key."""
        self.done: list[Completion] = []
        self.note = ""
        self._file: BinaryIO | None = None
        if path is None:
            return
        header = json.loads(json.dumps({"journal": 1, **header}))
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = _whole_lines(path)
        if lines and lines[0] != header:
            old = lines[0] if isinstance(lines[0], dict) else {}
            other = ", ".join(sorted(k for k in old.keys() | header.keys() if old.get(k) != header.get(k)))
            path.replace(path.with_name(path.name + ".old"))
            self.note = f"started anew: the journal was of other {other}, it is now {path.name}.old"
            lines = []
        self.done = [Completion(**row) for line in lines[1:] for row in line["completions"]]
        self._file = path.open("ab")
        if not lines:
            self._file.truncate(0)
            self._write(header)

    def append(self, completions: Sequence[Completion]) -> None:
        """Store one finished batch."""
        self._write({"completions": [asdict(c) for c in completions]})

    def _write(self, line: dict[str, Any]) -> None:
        if self._file:
            self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()


def resume(
    path: Path | None,
    header: dict[str, Any],
    total: int,
    sample: Callable[[Journal], Iterator[list[Completion]]],
    progress: Progress | None,
    note: Callable[[], str] = str,
) -> Iterator[Completion]:
    """Yield the journal's completions, then the batches of `sample`, which appends them. `note`: for the progress."""
    with Journal(path, header) as journal:
        done = len(journal.done)
        if progress:
            progress(done, total, "completions", journal.note)
        yield from journal.done
        for completions in sample(journal):
            done += len(completions)
            if progress:
                progress(done, total, "completions", note())
            yield from completions


def _whole_lines(path: Path) -> list[Any]:
    """Read the lines of a journal and cut off a torn one at its end."""
    if not path.is_file():
        return []
    lines: list[Any] = []
    with path.open("rb+") as file:
        good = 0
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
            good += len(line)
        file.truncate(good)
    return lines
