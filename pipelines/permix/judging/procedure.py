"""The two PersonaGym procedures: permix's own prompts with structured replies, and upstream's procedure."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from permix.judging.judge import Judgement
from permix.judging.own import Own
from permix.judging.structured import Client
from permix.judging.tasks import Row
from permix.judging.upstream import Upstream
from permix.prompting.persona import Persona


class Procedure(Protocol):
    """Write, ask and judge questions. `rows` are those of stage questions; a mapping has them by id.

    `not_copied` lists the bugs of upstream's scripts that are omitted on purpose.
    """

    not_copied: ClassVar[tuple[str, ...]]

    def write(self, client: Client, pool: Sequence[Persona], count: int, seed: int) -> tuple[list[Row], dict[str, str]]:
        """Return `count` questions per persona and task, and {persona|task: fault} for those that failed."""
        ...

    def exemplify(self, client: Client, rows: Sequence[Row], seed: int) -> dict[str, str]:
        """Give every row an example answer of each score; return {question id: fault} for those that failed."""
        ...

    def system_prompt(self, row: Row) -> str:
        """Return the system prompt under which the model answers a row's question."""
        ...

    def judge(
        self, client: Client, journal: str, rows: Mapping[str, Row], answers: Mapping[str, str], seed: int
    ) -> Iterator[Judgement]:
        """Score every answer from 1 to 5; `journal` names the journals."""
        ...

    def prompts(self) -> dict[str, str]:
        """Return the texts that determine the replies."""
        ...


def of(folder: Path | None) -> Procedure:
    """Return upstream's procedure with the prompts in `folder`, without a folder permix's own."""
    return Own() if folder is None else Upstream(folder)
