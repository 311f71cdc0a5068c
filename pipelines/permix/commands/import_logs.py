"""permix import: evaluations that other tools recorded under several system prompts, as a sweep with PSS."""

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from permix import files
from permix.commands import options
from permix.errors import BadInput
from permix.pipeline.stored import Tables
from permix.stage import StageConfig, unhashed

STAGE, VERSION = "import", 1
Logs = Sequence[tuple[str, Path]]  # persona and file


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """What the record of an imported sweep says of how it was read; `variant` is the model's name."""

    repository: str = unhashed("sweep")
    variant: str
    tool: str
    metric: str = ""
    draws: int = 1000


def import_logs(
    tool: Annotated[str, typer.Argument(help="What recorded them: lm-eval, lighteval or inspect.")],
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Logs whose system prompts are personas of ours, or folders of them.")
    ] = None,
    persona: Annotated[
        list[str], typer.Option("--persona", metavar="NAME=PATH", help="Logs under a persona of your own.")
    ] = [],  # noqa: B006 - typer reads the default, nobody changes it
    metric: Annotated[str, typer.Option("--metric", help="The score that counts, where there are several.")] = "",
    out: Annotated[Path | None, typer.Option("--out", help="Write the sweep into this new folder.")] = None,
    publish: Annotated[str, typer.Option("--publish", metavar="ORG/NAME", help="Publish the sweep as a dataset.")] = "",
    hub: options.Hub = None,
) -> None:
    """Make a sweep with PSS of per-sample logs of other tools, one log or more for each system prompt."""
    from permix import foreign_logs
    from permix.results.reporting import tabular

    if publish and (publish.count("/") != 1 or not all(publish.split("/"))):
        raise BadInput(f"--publish {publish!r} should be ORG/NAME.")
    if out and out.exists():
        raise BadInput(f"{out} is there already: give --out a new folder.")
    reader = foreign_logs.tool(tool)
    pairs = [(path, "") for path in paths or []] + [_named(text) for text in persona]
    if not pairs:
        raise BadInput("There is nothing to import: give logs, or --persona NAME=PATH.")
    logs = [
        (who or foreign_logs.match(log), log)
        for path, who in pairs
        for file in foreign_logs.find(reader, path)
        for log in reader.read(file, metric)
    ]
    tables = foreign_logs.rows(logs)
    org, name = publish.split("/") if publish else ("local", out.name if out else "sweep")
    model = logs[0][1].model
    model = Path(model).name if model.startswith(("/", ".")) else model  # a folder on somebody's machine
    config = Config(org=org, repository=name, variant=model, tool=tool, metric=metric)
    summary = summarise(config, tables)
    print(tabular.of_sweep(summary))
    with tempfile.TemporaryDirectory() as scratch:
        folder, sources = Path(scratch) / "sweep", [(who, log.file) for who, log in logs]
        if publish:
            print(_publish(folder, config, tables, summary, sources, hub))
        elif out:
            _write(folder, config, tables, summary, sources)
        if out:
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder, out)


def summarise(config: Config, tables: Tables) -> dict[str, Any]:
    """Every number of the sweep, from its rows alone: what `permix verify` computes again."""
    from permix.results.measures import sweep_numbers

    found = {name: sweep_numbers.of_rows(table, draws=config.draws, toy=False) for name, table in tables.items()}
    return {"variant": config.variant, "title": config.variant, "base": config.variant, "seed": 0, "benchmarks": found}


def _write(
    folder: Path, config: Config, tables: Tables, summary: Any, logs: Logs, release: str = f"v{VERSION}.0.0"
) -> dict[str, Any]:
    """Write rows, summary, record and card as the runner does for a sweep; return the record."""
    from permix import run_record
    from permix.publishing import cards
    from permix.stages.shared import sweep_rows

    for name, table in tables.items():
        rows = [dict.fromkeys(sweep_rows.COLUMNS) | row for row in table]
        sweep_rows.write(rows, folder, name)
    files.write_json(folder / "summary.json", summary)
    sources = [{"persona": who, "name": log.name, "sha256": run_record.sha256(log)} for who, log in logs]
    described = run_record.describe_files(folder)
    record = run_record.record(
        stage=STAGE,
        version=VERSION,
        target=f"datasets/{config.name(config.repository)}",
        config=config,
        digest=run_record.digest(
            STAGE, VERSION, config, {f"{n} {s['persona']}": s["sha256"] for n, s in enumerate(sources)}
        ),
        inputs={},
        facts={"summary": summary, "logs": sources},
        cost={"completions": sum(map(len, tables.values()))},
        described=described,
        content=run_record.content_digest(folder, described),
    )
    record |= {"release": release, "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    files.write_bytes(folder / "README.md", cards.render("sweep", record).encode())
    files.write_json(folder / run_record.RECORD, record)
    return record


def _publish(folder: Path, config: Config, tables: Tables, summary: Any, logs: Logs, hub: str | None) -> str:
    """Write the sweep into `folder` and publish it, unless the Hub holds just that; return `repo@sha`."""
    from permix.publishing import hub as hubs

    place, target = hubs.connect(hub), f"datasets/{config.name(config.repository)}"
    place.check_write(config.org)
    head = place.head(target)
    if head and head.files.keys() - {".gitattributes"} and (head.record is None or head.record["stage"] != STAGE):
        raise BadInput(f"{target} on {place.endpoint} is no imported sweep: give --publish another name.")
    releases = place.tags(target) if head else {}
    record = _write(folder, config, tables, summary, logs, f"v{VERSION}.{len(releases)}.0")
    if head and head.record and head.record["digest"] == record["digest"] and head.intact:
        sha, release = head.sha, str(head.record["release"])
    else:
        sha, release = place.publish(target, folder, f"import: {record['digest'][:12]}", head), str(record["release"])
    if release not in releases:
        place.tag(target, release, sha)
    return f"{target}@{sha}"


def _named(text: str) -> tuple[Path, str]:
    name, equals, path = text.partition("=")
    if not equals or not name.strip() or not path:
        raise BadInput(f"--persona {text!r} should be NAME=PATH.")
    return Path(path), name.strip()
