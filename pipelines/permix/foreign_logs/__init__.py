"""Evaluation logs of other tools as rows of a sweep. A tool's module has PATTERNS of its files and `read`."""

import hashlib
import importlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from permix.errors import BadInput, nearest
from permix.prompting import persona

TOOLS = {"lm-eval": "lm_eval_samples", "lighteval": "lighteval_details", "inspect": "inspect_logs"}


@dataclass(frozen=True)
class Answer:
    """One recorded answer (None: not recorded): the tool's problem id, its question's identity, the stored prompt."""

    problem: str
    question: str
    score: float
    completion: str
    prompt: str | None = None
    extracted: str | None = None
    tokens_out: int | None = None
    finish: str | None = None


@dataclass(frozen=True)
class Log:
    """One model's answers on one task under one system prompt ("" for none)."""

    file: Path
    model: str
    task: str
    system_prompt: str
    answers: tuple[Answer, ...]


def tool(name: str) -> ModuleType:
    """Return the module that reads the logs of the tool `name`."""
    if name not in TOOLS:
        raise BadInput(f"permix cannot read logs of {name!r}: {nearest(name, TOOLS)}")
    return importlib.import_module(f"permix.foreign_logs.{TOOLS[name]}")


def find(reader: ModuleType, path: Path) -> tuple[list[Path], list[str]]:
    """Return the tool's files at or below `path` by name (it has the date), less those `select` omits, and notes."""
    if not path.exists():
        raise BadInput(f"There is no {path}: give a log of the tool, or a folder with logs.")
    if path.is_file():
        return [path], []
    log_files = sorted(p for pattern in reader.PATTERNS for p in path.rglob(pattern) if p.is_file())
    if not log_files:
        raise BadInput(f"There is no {' or '.join(reader.PATTERNS)} in {path}: give the folder that the tool wrote.")
    return reader.select(log_files) if hasattr(reader, "select") else (log_files, [])


def match(log: Log) -> str:
    """Return the key of our persona or control with the log's system prompt."""
    known = {p.system_prompt: p.key for p in (*persona.CONTROLS, *persona.bundled("train"), *persona.bundled("eval"))}
    key = known.get(log.system_prompt.strip())
    if key is None:
        raise BadInput(
            f"The system prompt of {log.file.name}, {log.system_prompt[:60]!r}, is not a persona of ours: "
            f"give its log with a name, as --persona NAME={log.file.name}."
        )
    return key


def rows(logs: Sequence[tuple[str, Log]]) -> dict[str, list[dict[str, Any]]]:
    """Return {task: rows of a sweep}, repeats as runs. BadInput for several models or an id with two questions."""
    if len(models := sorted({log.model for _, log in logs})) > 1:
        raise BadInput(f"The logs are of several models ({', '.join(models)}): import one model at a time.")
    categories = {p.key: p.category for p in (*persona.bundled("train"), *persona.bundled("eval"))}
    tables: dict[str, list[dict[str, Any]]] = {}
    questions: dict[tuple[str, str], tuple[str, str]] = {}
    runs = Counter[tuple[str, str, str]]()
    for key, log in logs:
        task = re.sub(r"[^A-Za-z0-9._-]+", "-", log.task).strip("-")
        for answer in log.answers:
            question, other = questions.setdefault((task, answer.problem), (answer.question, key))
            if question != answer.question:
                raise BadInput(
                    f"Problem {answer.problem} of {log.task} is one question under {other!r} and another under "
                    f"{key!r}: every persona must answer the same problems."
                )
            condition = task, key, answer.problem
            row = _row(condition, runs[condition], answer, categories.get(key, ""))
            tables.setdefault(task, []).append(row | {"system_prompt": log.system_prompt})
            runs[condition] += 1
    return tables


def _row(condition: tuple[str, str, str], run: int, answer: Answer, category: str) -> dict[str, Any]:
    task, key, problem = condition
    return {
        "problem_id": f"{task}/{problem}",
        "persona": key,
        "category": category,
        "run": run,
        "prompt_digest": answer.prompt and hashlib.sha256(answer.prompt.encode()).hexdigest()[:16],
        "completion": answer.completion,
        "finish": answer.finish,
        "tokens_out": answer.tokens_out,
        "extracted": answer.extracted,
        "status": {1.0: "correct", 0.0: "wrong"}.get(answer.score),
        "score": answer.score,
        "adapter_digest": "",
    }


def chosen(scores: Iterable[str], metric: str, where: str) -> str:
    """Return the name of the score called `metric`, or of the only score; BadInput where that is ambiguous."""
    names = sorted(set(scores))
    matches = [name for name in names if metric in (name, name.partition(",")[0])] if metric else names
    matches = matches or [name for name in names if name.startswith(f"{metric}.")]
    if len(matches) == 1:
        return matches[0]
    if not names:
        raise BadInput(f"{where} holds no score: evaluate it again, with a metric that gives one for each answer.")
    if matches:
        raise BadInput(f"{where} holds several scores: choose one of {'; '.join(matches)} with --metric.")
    raise BadInput(f"{where} holds no score {metric!r}: {nearest(metric, names)}")


def score(value: Any, where: str) -> float:
    """Return a recorded score as a number in [0, 1]; BadInput for anything else, because a failure is not a score."""
    if not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= 1:
        raise BadInput(f"{where} has the score {value!r}: it should be a number from 0 to 1; evaluate it again.")
    return float(value)


def text(value: Any) -> str:
    """Return the text of a message: of a string, of a list of parts, or ""."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return text(value.get("text", ""))
    return "".join(map(text, value)) if isinstance(value, list) else ""
