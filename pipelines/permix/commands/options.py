"""Options that several commands share, their JSON output, and their longer texts."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

Recipe = Annotated[str, typer.Option("--recipe", "-r", envvar="PERMIX_RECIPE", help="Recipe: toy, … or a .toml file.")]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="A key, as grpo.max_steps=20; repeatable.")]
HubUrl = Annotated[str | None, typer.Option("--hub", metavar="URL", help="Address of the Hub (default: embedded).")]
Work = Annotated[Path | None, typer.Option("--work", help="Folder for unfinished work, by default permix's own.")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Artifacts at a time (0: one per core; 1 with a GPU).")]
Fresh = Annotated[list[str], typer.Option("--fresh", metavar="STAGE", help="Rebuild even if current; repeatable.")]
Artifact = Annotated[str, typer.Argument(metavar="ARTIFACT", help="[datasets/ or spaces/]org/name[@revision].")]
Processes = Annotated[int, typer.Option("--processes", min=1, help="Processes per training, one for each GPU.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

On = Annotated[Literal["here", "jobs"], typer.Option("--on", help="Build on this machine, or in a Job of the Hub.")]
Flavor = Annotated[str, typer.Option("--flavor", help="Hardware of the Job: cpu-basic, a100-large, …")]
Timeout = Annotated[str, typer.Option("--timeout", metavar="TIME", help="Time limit of the Job: 90m, 4h, 2d.")]
MaxCost = Annotated[float | None, typer.Option("--max-cost", metavar="USD", min=0, help="Refuse Jobs at higher cost.")]
Wait = Annotated[bool, typer.Option("--wait/--detach", help="Follow the Job to its end, or only start it.")]
FanOut = Annotated[Literal["none", "variants", "benchmarks"], typer.Option("--fan-out", help="One Job for each.")]
JOBS: list[tuple[str, Any, Any]] = [("on", On, "here"), ("flavor", Flavor, ""), ("timeout", Timeout, "")]
JOBS += [("max_cost", MaxCost, None), ("wait", Wait, True)]
"""The options of every command that can work in a Job: (parameter, option, default)."""


def print_json(value: Any) -> None:
    """Print the output of --json."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def text(name: str) -> str:
    """Return a text of the folder `texts`."""
    return Path(__file__).with_name("texts").joinpath(name).read_text(encoding="utf-8")
