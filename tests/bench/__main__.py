"""`make bench`: run every bench_*.py beside this file (or those named) and print one table of ratios.

A bench is a function `rows()` that yields Row; everything a row compares is measured in the same run.
"""

import importlib
import sys
from pathlib import Path

from tests.bench.row import Row


def main(names: list[str]) -> int:
    """Print the table; exit code 1 when a row misses its target."""
    available = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    if unknown := set(names) - set(available):
        print(f"There is no bench {', '.join(sorted(unknown))}; there are {', '.join(available)}.", file=sys.stderr)
        return 2
    rows: list[Row] = []
    for name in names or available:
        print(f"bench {name} ...", file=sys.stderr, flush=True)
        for row in importlib.import_module(f"tests.bench.bench_{name}").rows():
            print(f"  {row.what}: {row.value:.3g} ({row.detail})", file=sys.stderr, flush=True)
            rows.append(row)
    width = max((len(row.what) for row in rows), default=0)
    for row in rows:
        verdict = "" if row.target is None else f"{row.sign} {row.target:<8g} {'ok' if row.met else 'MISSED'}"
        print(f"{row.what:{width}}  {row.value:10.3g}  {verdict:18}  {row.detail}")
    return int(not all(row.met for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
