"""permix claims: the paper's statements, with the verdict of its own numbers and of ours."""

import textwrap
from typing import Annotated, Any

import typer

from permix.commands import options
from permix.errors import BadInput
from permix.pipeline import published
from permix.publishing import cards
from permix.publishing import hub as hubs
from permix.results.claims import verdicts

Tables = Annotated[str | None, typer.Argument(metavar="[ARTIFACT]", help="Artifact of stage tables, to examine too.")]


def claims(artifact: Tables = None, hub_url: options.HubUrl = None, as_json: options.Json = False) -> None:
    """Examine the paper's statements: on its printed numbers and on those of your tables."""
    statements, toy = _published(artifact, hub_url) if artifact else (verdicts.table(), False)
    if as_json:
        options.print_json(statements)
        return
    rule = f"{verdicts.RULE} {verdicts.TOY_STANDS_FOR}" if toy else verdicts.RULE
    title = "Each statement of the paper, the formula it stands for, and its verdict on the paper's printed numbers"
    print(textwrap.fill(f"{title}{' and on ours' if artifact else ''}. {rule}", 120))
    for row in statements:
        reading = f", read as: {row['reading']}" if row["reading"] else ""
        statement = f'{row["number"]:>2}  "{row["quote"]}" (section {row["section"]}{reading})'
        lines = [statement, f"    {row['formula']}", f"    paper: {verdicts.verdict(row['paper'])}"]
        lines += [f"    ours:  {verdicts.verdict(row['ours'])}"] if artifact else []
        for line in lines:
            print(textwrap.fill(line, 120, subsequent_indent="      "))


def _published(artifact: str, hub_url: str | None) -> tuple[list[dict[str, Any]], bool]:
    """Return the statements of a tables artifact, and whether it is of the toy world."""
    tables = published.artifact(artifact, hubs.connect(hub_url))
    if tables.record["stage"] != "tables":
        raise BadInput(f"{tables.repo} was made by stage {tables.record['stage']}: give an artifact of stage tables.")
    if "statements" not in tables.record["facts"]:
        raise BadInput(f"{tables.repo} was made by an older permix, without statements: run its recipe again.")
    return list(tables.record["facts"]["statements"]), cards.is_toy(tables.record)
