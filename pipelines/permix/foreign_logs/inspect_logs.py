"""UK AISI's Inspect: logs in both of its formats, .eval (a zip of JSON files) and .json.

github.com/UKGovernmentBEIS/inspect_ai, src/inspect_ai/log (version 2 of the format). An epoch is a run; the system
prompt is the first message of a sample.
"""

import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as arrow

from permix import foreign_logs
from permix.errors import BadInput
from permix.foreign_logs import Answer, Log
from permix.sampling.sampler import is_limit
from permix.text import storable

PATTERNS = ("*.eval", "*.json")
ZSTANDARD = 93  # zip's number of the method; Python's zipfile has it since 3.14
GRADES = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
"""Correct, incorrect, partial, no answer (inspect_ai/scorer/_metric.py)."""


def read(file: Path, metric: str) -> Iterator[Log]:
    """Yield the log in one file; BadInput where the evaluation failed or a sample has no score."""
    try:
        header, samples = _zipped(file) if file.suffix == ".eval" else _plain(file)
        if header["status"] != "success":
            raise BadInput(f"{file.name} ended with {header['status']}: evaluate it again (inspect eval-retry).")
        samples = sorted(samples, key=lambda sample: (sample["epoch"], str(sample["id"])))
        names = {name for sample in samples for name in sample.get("scores") or {}}
        name = foreign_logs.chosen(names, metric, file.name)
        prompts = {_system(sample) for sample in samples}
        if len(prompts) > 1:
            raise BadInput(f"{file.name} has samples under {len(prompts)} system prompts: give each persona a log.")
        answers = tuple(_answer(sample, name, file.name) for sample in samples)
        yield Log(file, header["eval"]["model"], header["eval"]["task"], next(iter(prompts), ""), answers)
    except (ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, arrow.ArrowException) as error:
        raise BadInput(f"{file.name} is not a log as Inspect writes it: {error!r}.") from None


def _plain(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    content = storable(json.loads(file.read_bytes()))
    return content, content.get("samples") or []


def _zipped(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    with zipfile.ZipFile(file) as log:
        if "header.json" not in log.namelist():
            raise BadInput(f"{file.name} has no header.json: the evaluation did not finish; run it again.")
        samples = [_member(log, name) for name in log.namelist() if name.startswith("samples/")]
        return _member(log, "header.json"), samples


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


def _answer(sample: Mapping[str, Any], name: str, where: str) -> Answer:
    problem, output = str(sample["id"]), sample["output"]
    grade = (sample.get("scores") or {}).get(name)
    if grade is None:
        raise BadInput(f"Sample {problem} of {where} has no score: evaluate it again.")
    value, choice = grade["value"], output["choices"][0]
    reason = choice.get("stop_reason")
    return Answer(
        problem=problem,
        question=json.dumps(sample["input"]) if isinstance(sample["input"], str) else json.dumps(sample["target"]),
        score=foreign_logs.score(
            GRADES.get(value, value) if isinstance(value, str) else value, f"Sample {problem} of {where}"
        ),
        completion=_resolved(choice["message"]["content"], sample),
        prompt=json.dumps([(m["role"], m["content"]) for m in sample["messages"] if m["role"] in ("system", "user")]),
        extracted=grade.get("answer"),
        tokens_out=(output.get("usage") or {}).get("output_tokens"),
        finish="length" if reason and is_limit(reason) else reason,
    )
