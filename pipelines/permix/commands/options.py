"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[
    str,
    typer.Option("--recipe", "-r", envvar="PERMIX_RECIPE", help="One of ours, or the path of your own (.toml)."),
]
Set = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe, for example grpo.max_steps=20."),
]
Hub = Annotated[
    str | None, typer.Option("--hub", metavar="URL", help="A Hub; without it the embedded one, which needs no account.")
]
Work = Annotated[Path | None, typer.Option("--work", help="Where unfinished work lies.")]
Workers = Annotated[
    int, typer.Option("--workers", min=0, help="Artifacts made side by side (0: one per core, one on a GPU).")
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
Json = Annotated[bool, typer.Option("--json", help="The whole record as JSON.")]
