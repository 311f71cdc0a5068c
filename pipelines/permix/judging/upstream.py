"""PersonaGym as its authors run it (vsamuel2003/PersonaGym, MIT; Samuel et al. 2025), with their prompts.

1. choose the settings that suit a persona, of 150    2. write the questions of each task in these settings
3. answer in one turn under upstream's system message
4. for five question-answer pairs at once: write examples of all scores, fill in every rubric, judge all five

The prompts are read from a folder with FILES. Steps 1 and 2 are skipped if the questions exist. Two differences are by
design: the examples of step 4 do not depend on the answers, so they are written once for all variants; the recipe sets
the models, their number and the number of questions.
"""

import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from permix import files
from permix.errors import BadInput
from permix.judging import upstream_replies as replied
from permix.judging.judge import Judgement
from permix.judging.structured import Client, Form, Reply
from permix.judging.tasks import TASKS, Row, question
from permix.prompting.persona import Persona
from permix.prompting.prompts import Messages
from permix.sampling.sampler import Sampling

_DATA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
NOT_COPIED: tuple[str, ...] = tuple(_DATA["not_copied"])
"""Upstream's known bugs."""
GROUP = 5  # question-answer pairs in one call
FILES: dict[str, tuple[str, list[str]]] = _DATA["files"]
"""{text: (its file, its placeholders)}, without the rubrics."""
NAMES = TASKS | {"toxicity_control": "Toxicity"}
RUBRIC = ["persona", "question", "response", "score_example"]


class Upstream:
    """The methods of permix.judging.own.Own, as upstream's scripts do it."""

    not_copied: ClassVar[tuple[str, ...]] = NOT_COPIED

    def __init__(self, folder: Path) -> None:
        """Read the prompts; raise BadInput for a missing file or placeholder."""
        prompts = FILES | {f"rubric/{task}": (f"rubrics/{name}.txt", RUBRIC) for task, name in NAMES.items()}
        self._texts = {name: _read(folder, path, placeholders) for name, (path, placeholders) in prompts.items()}
        self._settings, self._requirements = (_json(self._texts, name) for name in ("settings", "requirements"))

    def write(self, client: Client, pool: Sequence[Persona], count: int, seed: int) -> tuple[list[Row], dict[str, str]]:
        """Run steps 1 and 2: one request per persona, then one per persona and task."""
        sampling = replace(client.sampling, temperature=0.9, top_p=0.9)
        chats = {
            persona.key: self._user(
                "select_settings", persona=_person(persona.system_prompt), settings_list=self._settings
            )
            for persona in pool
        }
        chosen = client.ask(chats, replied.texts(None), "settings", "settings", seed, sampling=sampling)
        cells = {f"{persona.key}|{task}": (persona, task) for persona in pool for task in TASKS}
        chats = {
            key: self._interview(persona, task, chosen[persona.key].value, count)
            for key, (persona, task) in cells.items()
            if chosen[persona.key].value
        }
        replies = client.ask(chats, replied.texts(count), "questions", "questions", seed, sampling=sampling)
        questions = [
            question(*cells[key], number, text, reply.model)
            for key, reply in replies.items()
            for number, text in enumerate(reply.value or ())
        ]
        faults = {key: chosen[persona.key].fault for key, (persona, _) in cells.items()}
        faults |= {key: reply.fault for key, reply in replies.items()}
        return questions, {key: fault for key, fault in faults.items() if fault}

    def exemplify(self, client: Client, rows: Sequence[Row], seed: int) -> dict[str, str]:
        """Run the first part of step 4: one request per five questions of a persona and task."""
        together = {group[0]["question_id"]: group for group in groups(rows)}
        chats = {
            key: self._user("examples", rubrics=[self._example(row) for row in group])
            for key, group in together.items()
        }
        sampling = replace(client.sampling, temperature=0.0)
        replies = _ask(client, together, chats, replied.examples, "examples", "examples", seed, sampling=sampling)
        for key, group in together.items():
            for position, row in enumerate(group):
                row["examples"] = replies[key].value[position] if replies[key].value else None
        return {
            row["question_id"]: replies[key].fault for key in together for row in together[key] if replies[key].fault
        }

    def system_prompt(self, row: Row) -> str:
        """Return upstream's system message of step 3."""
        return self._fill("agent_system", persona=_person(row["description"]))

    def judge(
        self, client: Client, journal: str, rows: Mapping[str, Row], answers: Mapping[str, str], seed: int
    ) -> Iterator[Judgement]:
        """Run step 4: one request per five answers; a score that the reply lacks is missing."""
        together = {group[0]["question_id"]: group for group in groups([rows[key] for key in answers])}
        system = {"role": "system", "content": self._texts["judge_system"].strip()}
        chats = {
            key: [system, *self._user("grading", rubrics=[self._rubric(r, answers[r["question_id"]]) for r in group])]
            for key, group in together.items()
        }
        replies = _ask(client, together, chats, replied.scores, journal, "judge", seed)
        for key, group in together.items():
            for position, row in enumerate(group):
                score, status = replied.score_at(replies[key].raw, replies[key].fault, position)
                yield Judgement(row["question_id"], score, replies[key].raw, replies[key].model, status)

    def prompts(self) -> dict[str, str]:
        """Return upstream's texts unchanged."""
        return dict(self._texts)

    def _interview(self, persona: Persona, task: str, settings: Sequence[str], count: int) -> Messages:
        values = {"persona": _person(persona.system_prompt), "task": NAMES[task]}
        values["description"] = self._requirements.get(NAMES[task], "")
        return self._user("generate_questions", settings=settings, num_questions=count, **values)

    def _example(self, row: Row) -> str:
        rubric = self._texts[f"rubric/{row['task']}"]
        return self._fill("example", persona=_person(row["description"]), question=row["question"], rubric=rubric)

    def _rubric(self, row: Row, answer: str) -> str:
        examples = "\n\n".join(f"Score {n}: Response - {text}" for n, text in enumerate(row["examples"] or (), 1))
        values = {"persona": _person(row["description"]), "question": row["question"], "response": answer}
        return self._fill(f"rubric/{row['task']}", score_example=examples, **values)

    def _user(self, name: str, **values: Any) -> Messages:
        return [{"role": "user", "content": self._fill(name, **values)}]

    def _fill(self, name: str, **values: Any) -> str:
        """Return the text with all {names} filled in at once, so that braces in an answer stay unchanged."""
        return re.sub(r"\{(\w+)\}", lambda name: str(values.get(name[1], name[0])), self._texts[name])


def again(scored: Sequence[Row]) -> list[Row]:
    """Return the rows with scores read again; each row of a group has the reply with the group's scores in order."""
    rows = {}
    for group in groups(scored):
        for position, row in enumerate(group):
            score, status = replied.score_at(row["raw"], row["status"], position)
            rows[row["judge"], row["question_id"]] = {**row, "score": score, "status": status}
    return [rows[row["judge"], row["question_id"]] for row in scored]


def groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows of each persona and task (and judge) in groups of five."""
    cells: dict[tuple[str | None, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        cells[row.get("judge"), row["persona"], row["task"]].append(row)
    return [cell[at : at + GROUP] for cell in cells.values() for at in range(0, len(cell), GROUP)]


def _ask(
    client: Client,
    together: Mapping[str, Sequence[Row]],
    chats: Mapping[str, Messages],
    form: Callable[[int], Form],
    journal: str,
    *seeds: object,
    sampling: Sampling | None = None,
) -> dict[str, Reply]:
    """Return a reply per group; groups of equal size share a form."""
    replies: dict[str, Reply] = {}
    for size in sorted({len(group) for group in together.values()}):
        of_size = {key: chat for key, chat in chats.items() if len(together[key]) == size}
        replies |= client.ask(of_size, form(size), f"{journal}-{size}", *seeds, sampling=sampling)
    return replies


def _read(folder: Path, path: str, placeholders: Sequence[str]) -> str:
    if not (folder / path).is_file():
        raise BadInput(f"The folder of upstream's prompts has no {path}: it should hold PersonaGym's own.")
    text = files.read_text(folder / path)
    if missing := [name for name in placeholders if f"{{{name}}}" not in text]:
        raise BadInput(f"{path} of upstream's prompts has no {{{missing[0]}}}: it should be PersonaGym's own.")
    return text


def _json(texts: Mapping[str, str], name: str) -> Any:
    try:
        return json.loads(texts[name])
    except ValueError as error:
        raise BadInput(f"{FILES[name][0]} of upstream's prompts is not JSON ({error}).") from None


def _person(description: str) -> str:
    """Return a description in the form of upstream's sentences: "a nurse who ..."."""
    return description.removeprefix("You are ").rstrip(". ")
