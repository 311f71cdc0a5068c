"""Rows as Parquet files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], path: Path) -> None:
    """Write the named columns of `rows`; `columns` gives each its Arrow type, "strings" for a list of strings."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    lists = {"strings": arrow.list_(arrow.string())}
    schema = arrow.schema([(name, lists.get(kind) or arrow.type_for_alias(kind)) for name, kind in columns.items()])
    path.parent.mkdir(parents=True)
    kept = [{name: row[name] for name in columns} for row in rows]
    parquet.write_table(arrow.Table.from_pylist(kept, schema), path, compression="zstd")


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of one file."""
    import pyarrow.parquet as parquet

    return [dict(row) for row in parquet.read_table(path).to_pylist()]
