"""PersonaGym with permix's own prompts: replies in JSON, one answer judged at a time (C.2 prints no prompt)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from permix.judging import judge, structured
from permix.judging.structured import Client, Form, Misfit
from permix.judging.tasks import TASKS, Row, question, text_of
from permix.prompting import prompts as prompt
from permix.prompting.persona import Persona

SCORES = ("1", "2", "3", "4", "5")


class Own:
    """Write, ask and judge the rows of stage questions; a mapping has them by id."""

    not_copied: ClassVar[tuple[str, ...]] = ()

    def write(self, client: Client, pool: Sequence[Persona], count: int, seed: int) -> tuple[list[Row], dict[str, str]]:
        """Return `count` questions per persona and task, one request each, and {persona|task: fault} of the failed."""
        cells = {f"{persona.key}|{task}": (persona, task) for persona in pool for task in TASKS}
        chats = {
            key: prompt.interviewing(persona.system_prompt, task, TASKS[task], count)
            for key, (persona, task) in cells.items()
        }
        replies = client.ask(chats, _list_of(count), "questions", "questions", seed)
        questions = [
            question(*cells[key], number, text, reply.model)
            for key, reply in replies.items()
            for number, text in enumerate(reply.value or ())
        ]
        return questions, {key: reply.fault for key, reply in replies.items() if reply.value is None}

    def exemplify(self, client: Client, rows: Sequence[Row], seed: int) -> dict[str, str]:
        """Give every row an example of each score, one request each; return {question id: fault} of the failed."""
        chats = {
            row["question_id"]: prompt.exemplifying(row["description"], row["task"], row["question"]) for row in rows
        }
        form = structured.json_of({score: {"type": "string"} for score in SCORES}, _examples)
        replies = client.ask(chats, form, "examples", "examples", seed)
        for row in rows:
            row["examples"] = replies[row["question_id"]].value
        return {key: reply.fault for key, reply in replies.items() if reply.value is None}

    def system_prompt(self, row: Row) -> str:
        """Return the system prompt for a row's question: the persona's own."""
        return str(row["system_prompt"])

    def judge(
        self, client: Client, journal: str, rows: Mapping[str, Row], answers: Mapping[str, str], seed: int
    ) -> Iterator[judge.Judgement]:
        """Score every answer from 1 to 5, one request each; `journal` names the journals."""
        items = [judge.Item(key, scoring(rows[key], answer)) for key, answer in answers.items()]
        return judge.ModelJudge(client, judge.SCORE, journal, seed).judge(items)

    def prompts(self) -> dict[str, str]:
        """Return the texts that determine the replies."""
        return prompt.templates(
            *("questions", "examples", "score", "score_item", "again"),
            *(f"{kind}/{task}" for kind in ("tasks", "rubrics") for task in TASKS),
        )


def scoring(row: Row, answer: str, *, backwards: bool = False) -> prompt.Messages:
    """Return the chat in which a judge scores an answer to the question of `row`; `backwards`: best example first."""
    examples = row["examples"] or ()
    return prompt.scoring(row["description"], row["task"], row["question"], examples, answer, backwards=backwards)


def again(scored: Sequence[Row]) -> list[Row]:
    """Return the rows with scores read again from their last replies."""
    return [judge.again(row, judge.SCORE) for row in scored]


def _list_of(count: int) -> Form:
    def read(reply: Mapping[str, Any]) -> list[str]:
        listed = reply.get("questions")
        texts = list(dict.fromkeys(text_of(text) for text in listed)) if isinstance(listed, list) else []
        texts = [text for text in texts if text]
        if len(texts) < count:
            raise Misfit("too_few", f"Your reply had {len(texts)} different questions: it should have {count}.")
        return texts[:count]

    return structured.json_of({"questions": {"type": "array", "items": {"type": "string"}}}, read)


def _examples(reply: Mapping[str, Any]) -> list[str]:
    texts = [text_of(reply.get(score)) for score in SCORES]
    if not all(texts):
        raise Misfit("too_few", "Your reply should have an answer under each of the keys 1 to 5.")
    return texts
