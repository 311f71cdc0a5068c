"""Rows of datasets: ours as Parquet files, any other as `datasets` reads them, but with numbers as they are written."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from permix import files
from permix.errors import BadInput

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


def data_file(folder: Path, config: str = "", split: str = "test") -> Path:
    """Return the file of a split in an artifact's folder; `config` is "" for a dataset without configurations."""
    return folder / "data" / config / f"{split}-00000-of-00001.parquet"


def read(path: Path, columns: Sequence[str] | None = None, filters: Any = None) -> list[Row]:
    """Return the rows of one file: by default all of them, with all columns."""
    import pyarrow.parquet as parquet

    return [dict(row) for row in parquet.read_table(path, columns=columns, filters=filters).to_pylist()]


def of_split(folder: Path, dataset: str, split: str, config: str = "") -> list[Row]:
    """Return the rows of one split of the dataset in `folder`, as `datasets` reads them from the Hub.

    Cells of CSV files are texts, None where they are empty. In a JSON column with decimals every number has its digits.
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
            if rows.info.builder_name == "csv":
                texts = datasets.Features(dict.fromkeys(rows.column_names, datasets.Value("string")))
                settings |= {"features": texts, "keep_default_na": False}
                rows = datasets.load_dataset(str(folder), config or None, split=split, **settings)
            floats = {name: str(getattr(feature, "dtype", "")) for name, feature in rows.features.items()}
            floats = {name: dtype for name, dtype in floats.items() if dtype.startswith("float")}
            reread = rows.info.builder_name == "json" and floats
            builder = datasets.load_dataset_builder(str(folder), config or None, cache_dir=cache) if reread else None
        except (ValueError, OSError, StopIteration, RuntimeError, datasets.exceptions.DatasetsError) as error:
            message = str(error.__cause__ or error) or "it is empty"
            reason = " ".join(message.replace(str(folder), dataset).split()).rstrip(".!")
            part = f"The split {split!r}" + (f" of config {config!r}" if config else "")
            raise BadInput(f"{part} of {dataset} cannot be read: {reason}.") from None
        table: list[Row] = [files.storable(dict(row)) for row in rows]
    if "features" in settings:
        return [{name: cell or None for name, cell in row.items()} for row in table]
    if builder:
        _restore(table, list(floats), list(map(Path, builder.config.data_files.get(split, ()))), dataset)
    return [row | {name: _shortest(row[name], dtype) for name, dtype in floats.items()} for row in table]


def _restore(table: Sequence[Row], columns: Sequence[str], paths: Sequence[Path], dataset: str) -> None:
    """Give the numbers of JSON columns, which Arrow read as floats, the digits that the files have."""
    try:
        rows = [row for path in paths for row in _json_rows(path)]
    except (ValueError, OSError):  # packed, or of another layout
        rows = []
    for number, row in enumerate(table):
        for name in columns:
            if len(rows) == len(table):
                row[name] = files.storable(rows[number].get(name))
            elif row[name] is not None and abs(row[name]) >= 2**53:
                raise BadInput(
                    f"Row {number} of {dataset} has {row[name]!r} under {name!r}, which may have lost digits: "
                    "write the numbers of that column as texts."
                )


def _json_rows(path: Path) -> list[Row]:
    """Return the objects of a JSON file, or of its lines, with decimals as Decimal."""
    text = files.read_text(path)
    try:
        rows = [json.loads(line, parse_float=Decimal) for line in text.split("\n") if line.strip()]
    except ValueError:
        rows = json.loads(text, parse_float=Decimal)
    rows = rows[0] if len(rows) == 1 and isinstance(rows[0], list) else rows
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(path)
    return rows


def _shortest(number: Any, dtype: str) -> Any:
    """Return the shortest decimal that a float of few bits stands for: 0.1 for float32's 0.10000000149."""
    import numpy

    return float(str(numpy.dtype(dtype).type(number))) if isinstance(number, float) else number
