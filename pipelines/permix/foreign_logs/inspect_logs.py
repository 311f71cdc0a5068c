"""UK AISI's Inspect: logs in both of its formats, .eval (a zip of JSON files) and .json.

github.com/UKGovernmentBEIS/inspect_ai, src/inspect_ai/log (version 2 of the format). An epoch is a run; the system
prompt is the first message of a sample.
"""

import json
import math
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as arrow

from permix import foreign_logs
from permix.errors import BadInput
from permix.files import storable
from permix.sampling.sampler import is_limit

PATTERNS = ("*.eval", "*.json")
HEADER, START = "header.json", "_journal/start.json"  # the second is in a log that did not finish
ZSTANDARD = 93  # zip's number of the method; Python's zipfile has it since 3.14
GRADES = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
"""Correct, incorrect, partial, no answer; with the words below as in value_to_float (inspect_ai/scorer/_metric.py)."""
WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile, arrow.ArrowException)


@dataclass(frozen=True)
class _Head:
    """The facts that tell whether a log repeats another; `system_prompt` is None without samples."""

    file: Path
    succeeded: bool
    task: tuple[str, str, str]
    task_id: str
    created: str
    system_prompt: str | None

    def repeats(self, other: "_Head") -> bool:
        """Return whether both are of the same evaluation: Inspect gives a retry the id of its first try."""
        if self.succeeded and other.succeeded and self.task_id and other.task_id:
            return self.task_id == other.task_id
        prompts = {self.system_prompt, other.system_prompt} - {None}
        return self.task == other.task and (len(prompts) < 2 or self.task_id == other.task_id != "")


def select(log_files: list[Path]) -> tuple[list[Path], list[str]]:
    """Return the files of a folder that count, and notes on retried evaluations and files that are not logs."""
    heads, notes = [], []
    for file in log_files:
        try:
            heads.append(_head(file))
        except _UNREADABLE:
            if file.suffix == ".eval":
                raise BadInput(f"{file.name} is not a log as Inspect writes it: remove it from the folder.") from None
            notes.append(f"{file.name} is not a log of Inspect and was left out.")
    if not heads:
        return log_files, []
    newest_first = sorted(heads, key=lambda head: (head.succeeded, head.created, head.file.name), reverse=True)
    counted: list[_Head] = []
    for head in newest_first:
        newer = next((other for other in counted if other.succeeded and head.repeats(other)), None)
        if newer is None:
            counted.append(head)
        else:
            notes.append(f"{head.file.name} was left out: {newer.file.name} is of the same evaluation and counts.")
    return [head.file for head in heads if head in counted], notes


def _head(file: Path) -> _Head:
    header, samples = _zipped(file) if file.suffix == ".eval" else _plain(file)
    spec = header["eval"]
    task = str(spec["task"]), str(spec["model"]), json.dumps(spec.get("task_args"), sort_keys=True)
    prompts = [_system(sample) for sample in samples if sample.get("messages")]
    ids = str(spec.get("task_id") or ""), str(spec.get("created") or "")
    return _Head(file, header["status"] == "success", task, *ids, prompts[0] if prompts else None)


def read(file: Path, metric: str) -> Iterator[foreign_logs.Log]:
    """Yield the log in one file; BadInput where the evaluation failed or a sample has no score."""
    try:
        header, samples = _zipped(file) if file.suffix == ".eval" else _plain(file)
        if header["status"] != "success":
            raise BadInput(f"{file.name} ended with {header['status']}: evaluate it again (inspect eval-retry).")
        samples = sorted(samples, key=lambda sample: (sample["epoch"], str(sample["id"])))
        names = {name for sample in samples for name in _scores(sample)}
        name = foreign_logs.chosen(names, metric, file.name)
        prompts = {_system(sample) for sample in samples if sample.get("messages")}
        if len(prompts) > 1:
            raise BadInput(f"{file.name} has samples under {len(prompts)} system prompts: give each persona a log.")
        answers = tuple(_answer(sample, name, file.name) for sample in samples)
        yield foreign_logs.Log(file, header["eval"]["model"], header["eval"]["task"], next(iter(prompts), ""), answers)
    except _UNREADABLE as error:
        raise BadInput(f"{file.name} is not a log as Inspect writes it: {error!r}.") from None


def _plain(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    content = storable(json.loads(file.read_bytes()))
    return content, content.get("samples") or []


def _zipped(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    with zipfile.ZipFile(file) as log:
        names = set(log.namelist())  # of members with one name the last counts, as in getinfo
        header = _member(log, HEADER) if HEADER in names else {"status": "started", **_member(log, START)}
        return header, [_member(log, name) for name in sorted(names) if name.startswith("samples/")]


def _member(log: zipfile.ZipFile, name: str) -> Any:
    info = log.getinfo(name)
    if info.compress_type != ZSTANDARD:
        return storable(json.loads(log.read(name)))
    assert log.fp is not None
    log.fp.seek(info.header_offset + 26)  # the local header's lengths of name and extra field, before the data
    log.fp.seek(sum(struct.unpack("<HH", log.fp.read(4))), 1)
    packed = arrow.BufferReader(log.fp.read(info.compress_size))
    return storable(json.loads(arrow.CompressedInputStream(packed, "zstd").read()))


def _system(sample: Mapping[str, Any]) -> str:
    first: dict[str, Any] = next(iter(sample.get("messages") or []), {})
    return _resolved(first["content"], sample).strip() if first.get("role") == "system" else ""


def _resolved(content: Any, sample: Mapping[str, Any]) -> str:
    """Return the text of a message; long texts are attachments of the sample."""
    text = foreign_logs.text(content)
    return str(sample["attachments"][text.removeprefix("attachment://")]) if text.startswith("attachment://") else text


def _scores(sample: Mapping[str, Any]) -> dict[str, tuple[Any, Mapping[str, Any]]]:
    """Return {name: its value, the score}; a value of a dictionary is called `<scorer>.<key>`."""
    scores: dict[str, tuple[Any, Mapping[str, Any]]] = {}
    for name, score in (sample.get("scores") or {}).items():
        value = score["value"]
        parts = {f"{name}.{key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
        scores |= {part: (number, score) for part, number in parts.items()}
    return scores


def _number(value: Any) -> Any:
    """Return the number that Inspect makes of a text, any other value as it is."""
    if not isinstance(value, str):
        return value
    if (number := GRADES.get(value, WORDS.get(value.lower()))) is not None:
        return number
    try:
        return float(value) if math.isfinite(float(value)) else value
    except ValueError:
        return value


def _answer(sample: Mapping[str, Any], name: str, where: str) -> foreign_logs.Answer:
    problem, output, scores = str(sample["id"]), sample.get("output") or {}, _scores(sample)
    if name not in scores:
        raise BadInput(f"Sample {problem} of {where} has no score: evaluate it again.")
    value, grade = scores[name]
    choice: Mapping[str, Any] = next(iter(output.get("choices") or []), {})
    reason, messages = choice.get("stop_reason"), sample.get("messages") or []
    return foreign_logs.Answer(
        problem=problem,
        question=json.dumps(sample["input"]) if isinstance(sample["input"], str) else json.dumps(sample["target"]),
        score=foreign_logs.score(_number(value), f"Sample {problem} of {where}"),
        completion=_resolved(choice["message"]["content"], sample) if choice else "",
        prompt=json.dumps([(m["role"], m["content"]) for m in messages if m["role"] in ("system", "user")]),
        extracted=grade.get("answer"),
        tokens_out=(output.get("usage") or {}).get("output_tokens"),
        finish="length" if reason and is_limit(reason) else reason,
    )
