"""Rows of datasets: ours as Parquet files, any other as `datasets` reads them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from permix.errors import BadInput
from permix.text import storable

Row = dict[str, Any]
"""One row of a dataset, {column: value}; the columns are those of its stage."""


def write(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], path: Path) -> None:
    """Write `columns` of the rows: {name: its Arrow type, "strings" for lists of strings, "messages" for chats}."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    message = arrow.struct([("role", arrow.string()), ("content", arrow.string())])
    lists = {"strings": arrow.list_(arrow.string()), "messages": arrow.list_(message)}
    schema = arrow.schema([(name, lists.get(kind) or arrow.type_for_alias(kind)) for name, kind in columns.items()])
    path.parent.mkdir(parents=True, exist_ok=True)
    table = arrow.Table.from_pylist([{name: row[name] for name in columns} for row in rows], schema)
    parquet.write_table(table, path, compression="zstd")


def read(path: Path) -> list[Row]:
    """Return the rows of one file."""
    import pyarrow.parquet as parquet

    return [dict(row) for row in parquet.read_table(path).to_pylist()]


def of_split(folder: Path, dataset: str, split: str, config: str = "") -> list[Row]:
    """Return the rows of one split of the dataset in `folder`, as `datasets` reads them from the Hub.

    BadInput, which names `dataset`, if it cannot be read.
    """
    import tempfile

    import datasets

    datasets.disable_progress_bars()
    # The cache key of a local folder ignores its content, so each reading gets a cache of its own.
    with tempfile.TemporaryDirectory() as cache:
        settings: dict[str, Any] = {"cache_dir": cache, "keep_in_memory": True}
        try:
            rows = datasets.load_dataset(str(folder), config or None, split=split, **settings)
        except (ValueError, OSError, StopIteration, RuntimeError, datasets.exceptions.DatasetsError) as error:
            message = str(error.__cause__ or error) or "it is empty"
            reason = " ".join(message.replace(str(folder), dataset).split()).rstrip(".!")
            part = f"The split {split!r}" + (f" of config {config!r}" if config else "")
            raise BadInput(f"{part} of {dataset} cannot be read: {reason}.") from None
        return [storable(dict(row)) for row in rows]
