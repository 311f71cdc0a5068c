"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

Recipe = Annotated[
    str,
    typer.Option(
        "--recipe", "-r", envvar="PERMIX_RECIPE", help="The experiment: toy, smoke, … or a file of your own (.toml)."
    ),
]
Set = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a key of the recipe, for example grpo.max_steps=20; repeatable."
    ),
]
HubUrl = Annotated[
    str | None,
    typer.Option("--hub", metavar="URL", help="Address of a Hub; without it the embedded one, which needs no account."),
]
Work = Annotated[Path | None, typer.Option("--work", help="Folder for unfinished work; by default permix's own.")]
Workers = Annotated[
    int, typer.Option("--workers", min=0, help="How many artifacts are made at a time (0: one per core, one on a GPU).")
]
Fresh = Annotated[
    list[str], typer.Option("--fresh", metavar="STAGE", help="Make this stage again, even where it is current.")
]
Artifact = Annotated[
    str,
    typer.Argument(
        metavar="ARTIFACT", help="org/name, datasets/org/name or spaces/org/name, with @revision if you like."
    ),
]
Processes = Annotated[
    int, typer.Option("--processes", min=1, help="Train each adapter in this many processes, one per GPU.")
]
Json = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]

On = Annotated[Literal["here", "jobs"], typer.Option("--on", help="Work on this machine, or in a Job of the Hub.")]
Flavor = Annotated[str, typer.Option("--flavor", help="The hardware of the Job: cpu-basic, a100-large, …")]
Timeout = Annotated[str, typer.Option("--timeout", metavar="TIME", help="When a Job is ended: 90m, 4h, 2d.")]
MaxCost = Annotated[
    float | None, typer.Option("--max-cost", metavar="USD", min=0, help="Refuse Jobs that might cost more.")
]
Wait = Annotated[bool, typer.Option("--wait/--detach", help="Follow the Job to its end, or leave it to itself.")]
FanOut = Annotated[
    Literal["none", "variants", "benchmarks"], typer.Option("--fan-out", help="Sweep in a Job for each of these.")
]
JOBS: list[tuple[str, Any, Any]] = [
    ("on", On, "here"),
    ("flavor", Flavor, ""),
    ("timeout", Timeout, ""),
    ("max_cost", MaxCost, None),
    ("wait", Wait, True),
]
"""What every command has that can work in a Job: (parameter, option, default)."""
