"""The first rows of data files, read in a child process, which a hostile file may slow down, fill or crash.

As a program (arguments: seconds, bytes) it reads `[path, format]` pairs as JSON and prints a table for each.
"""

import csv
import json
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

ROWS, COLUMNS, CELL = 5, 40, 300
FORMATS = {".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
SECONDS, MEMORY = 10, 2 << 30
LINE = 1 << 20
Table = dict[str, Any]
"""`columns`, `rows` (lists of text), `total` (None if unknown); or `error`, a sentence."""

_few = threading.BoundedSemaphore(2)


def first_rows(files: Sequence[tuple[Path, str]], seconds: int = SECONDS, memory: int = MEMORY) -> list[Table]:
    """Return one table per (path, format); all have an `error` if the child exceeds its time or memory."""
    order = json.dumps([[str(path), kind] for path, kind in files])
    environment = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-I", str(Path(__file__).resolve()), str(seconds), str(memory)]
    try:
        with _few:
            child = subprocess.run(
                command, input=order, capture_output=True, text=True, timeout=2 * seconds, env=environment, check=True
            )
        tables: list[Table] = json.loads(child.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return [{"error": "These files are too large or too unusual to be displayed."} for _ in files]
    return tables


def main() -> None:
    """Read standard input, print the tables."""
    seconds, memory = (int(number) for number in sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    if sys.platform == "linux":  # other systems count reserved memory, too
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    print(json.dumps([_table(Path(path), kind) for path, kind in json.load(sys.stdin)]))


def _table(path: Path, kind: str) -> Table:
    try:
        return {"parquet": _parquet, "jsonl": _jsonl, "csv": _csv}[kind](path)
    except Exception as error:
        return {"error": f"This file cannot be displayed: {type(error).__name__}."}


def _parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    pyarrow.set_cpu_count(1)
    with pyarrow.parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
        names = file.schema_arrow.names[:COLUMNS]
        batch = next(file.iter_batches(ROWS, columns=names, use_threads=False), None)
        rows = [] if batch is None else [[_cell(row.get(name)) for name in names] for row in batch.to_pylist()]
        return {"columns": names, "rows": rows, "total": file.metadata.num_rows}


def _jsonl(path: Path) -> Table:
    rows = [json.loads(line) for line in islice(_lines(path), ROWS)]
    rows = [row if isinstance(row, dict) else {"": row} for row in rows]
    names = list(dict.fromkeys(str(name) for row in rows for name in row))[:COLUMNS]
    return {"columns": names, "rows": [[_cell(row.get(name)) for name in names] for row in rows], "total": None}


def _csv(path: Path) -> Table:
    names, *rows = [*islice(csv.reader(_lines(path)), ROWS + 1)] or [[]]
    cells = [[_cell(cell) for cell in row[:COLUMNS]] for row in rows]
    return {"columns": names[:COLUMNS], "rows": cells, "total": None}


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        while line := lines.readline(LINE):
            if line.strip():
                yield line


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= CELL else text[:CELL] + "…"


if __name__ == "__main__":
    main()
