"""permix claims: the paper's statements, with the verdict of its own numbers and of ours."""

import json
import textwrap
from typing import Annotated, Any

import typer

from permix.commands import options
from permix.errors import BadInput

Tables = Annotated[
    str | None,
    typer.Argument(
        metavar="[ARTIFACT]", help="Tables of ours (datasets/org/permix-tables); without it, the paper's alone."
    ),
]


def claims(artifact: Tables = None, hub_url: options.HubUrl = None, as_json: options.Json = False) -> None:
    """Examine the paper's statements on its own printed numbers and on a tables artifact of ours."""
    from permix.results.claims import verdicts

    found, toy = _published(artifact, hub_url) if artifact else (verdicts.table(), False)
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return
    rule = f"{verdicts.RULE} {verdicts.TOY_STANDS_FOR}" if toy else verdicts.RULE
    head = "Each statement of the paper, the formula it stands for, and its verdict on the paper's printed numbers"
    print(textwrap.fill(f"{head}{' and on ours' if artifact else ''}. {rule}", 120))
    for row in found:
        reading = f", read as: {row['reading']}" if row["reading"] else ""
        said = f'{row["number"]:>2}  "{row["quote"]}" (section {row["section"]}{reading})'
        found_on = [f"    paper: {verdicts.verdict(row['paper'])}"]
        found_on += [f"    ours:  {verdicts.verdict(row['ours'])}"] if artifact else []
        for line in (said, f"    {row['formula']}", *found_on):
            print(textwrap.fill(line, 120, subsequent_indent="      "))


def _published(artifact: str, hub_url: str | None) -> tuple[list[dict[str, Any]], bool]:
    """The statements of a tables artifact, and whether it is of the toy world."""
    from permix.pipeline import published
    from permix.publishing import cards
    from permix.publishing import hub as hubs

    head = published.artifact(artifact, hubs.connect(hub_url))
    if head.record["stage"] != "tables":
        raise BadInput(f"{head.repo} was made by stage {head.record['stage']}: give an artifact of stage tables.")
    if "statements" not in head.record["facts"]:
        raise BadInput(f"{head.repo} was made by an older permix: run its recipe again.")
    return list(head.record["facts"]["statements"]), cards.is_toy(head.record)
