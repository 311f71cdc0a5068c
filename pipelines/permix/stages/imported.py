"""Import logs of other tools, recorded under several system prompts, as a sweep with PSS.

In:  nothing from the Hub; the logs are files of this machine
Out: data/<benchmark>/test-00000-of-00001.parquet: one row per completion, with the score that the tool gave;
     summary.json: every number, a function of the rows
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from permix import files, foreign_logs, run_record
from permix.results.measures import sweep_numbers
from permix.stage import Facts, Folders, Replay, Stage, StageConfig, StageContext, Tables, unhashed
from permix.stages.shared import sweep_rows


@dataclass(frozen=True)
class LogFile:
    """One file of a tool; `persona` is "" if its system prompts name the personas."""

    persona: str
    sha256: str
    path: Path = unhashed(Path())


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """The logs and how to read them; `variant` is the model's name."""

    TABLE: ClassVar[str] = "import"

    repository: str = unhashed("sweep")
    variant: str
    tool: str
    metric: str = ""
    draws: int = 1000
    logs: tuple[LogFile, ...] = ()


def config_of_logs(
    org: str, repository: str, tool: str, metric: str, paths: Sequence[tuple[str, Path]]
) -> tuple[Config, list[str]]:
    """Return the Config of (persona, file or folder) pairs and notes on omitted files; BadInput if none remains."""
    reader = foreign_logs.tool(tool)
    selections = [(persona, *foreign_logs.find(reader, path)) for persona, path in paths]
    notes = [note for _, _, notes_of_path in selections for note in notes_of_path]
    logs = tuple(
        LogFile(persona, run_record.sha256(file), file) for persona, chosen, _ in selections for file in chosen
    )
    entries = _read(tool, metric, logs)
    foreign_logs.rows(entries)
    model = entries[0][1].model
    name = Path(model).name if model.startswith(("/", ".")) else model  # a folder of another machine
    return Config(org=org, repository=repository, variant=name, tool=tool, metric=metric, logs=logs), notes


def _read(tool: str, metric: str, logs: Sequence[LogFile]) -> list[tuple[str, foreign_logs.Log]]:
    reader = foreign_logs.tool(tool)
    return [(file.persona or foreign_logs.match(log), log) for file in logs for log in reader.read(file.path, metric)]


def target(config: Config) -> str:
    """Return `datasets/org/name`."""
    return f"datasets/{config.name(config.repository)}"


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Write the rows, with the scores that the tool gave, and their summary."""
    entries = _read(config.tool, config.metric, config.logs)
    tables = foreign_logs.rows(entries)
    for name, table in tables.items():
        sweep_rows.write([dict.fromkeys(sweep_rows.COLUMNS) | row for row in table], out, name)
    summary = summarise(config, tables)
    files.write_json(out / "summary.json", summary)
    cost = {"completions": sum(map(len, tables.values()))}
    sources = [
        {"persona": persona, "name": log.file.name, "sha256": run_record.sha256(log.file)} for persona, log in entries
    ]
    return {"summary": summary, "logs": sources, "cost": cost}


def summarise(config: Config, tables: Tables) -> dict[str, Any]:
    """Return every number of the sweep, from its rows only."""
    numbers = {name: sweep_numbers.of_rows(table, draws=config.draws, toy=False) for name, table in tables.items()}
    model = config.variant
    return {"variant": model, "title": model, "base": model, "seed": 0, "benchmarks": numbers}


def replay(recorded: Mapping[str, Any], folder: Path, inputs: Folders) -> tuple[Tables, Tables, dict[str, Any]]:
    """Return the stored rows twice, because another tool scored them, and their summary."""
    config = run_record.config_of(Config, recorded)
    stored = {path.name: sweep_rows.read(folder, path.name) for path in sorted((folder / "data").iterdir())}
    return stored, stored, summarise(config, stored)


STAGE = Stage(
    name="import",
    card="sweep",
    version=1,
    config=Config,
    target=target,
    run=run,
    replay=Replay("completions as they were scored", replay),
)
