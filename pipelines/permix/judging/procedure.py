"""The two ways to do PersonaGym: permix's own prompts with structured replies, and upstream's own procedure."""

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
    """How questions are written, put and judged. `rows` are those of stage questions, by id where they are a mapping.

    `not_copied` says what of upstream's scripts is left out on purpose.
    """

    not_copied: ClassVar[tuple[str, ...]]

    def write(self, client: Client, pool: Sequence[Persona], count: int, seed: int) -> tuple[list[Row], dict[str, str]]:
        """`count` questions for each persona and task, and {persona|task: why there are none}."""
        ...

    def exemplify(self, client: Client, rows: Sequence[Row], seed: int) -> dict[str, str]:
        """Give every row an example answer of each score; return {question id: why it has none}."""
        ...

    def system_prompt(self, row: Row) -> str:
        """What makes the model the person that a row's question is put to."""
        ...

    def judge(
        self, client: Client, what: str, rows: Mapping[str, Row], answers: Mapping[str, str], seed: int
    ) -> Iterator[Judgement]:
        """Score every answer from 1 to 5; `what` names the journals."""
        ...

    def prompts(self) -> dict[str, str]:
        """The texts that replies depend on."""
        ...


def of(folder: Path | None) -> Procedure:
    """Upstream's with the prompts in `folder`, or permix's own where there is none."""
    return Own() if folder is None else Upstream(folder)
