"""Personas: system messages that make a model play a role (paper, Appendix D), in two disjoint pools."""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from permix import files, parquet
from permix.errors import BadInput


@dataclass(frozen=True)
class Persona:
    """One persona; `system_prompt` is the whole system message."""

    key: str
    category: str
    system_prompt: str


CONTROLS = (Persona("none", "Control", ""), Persona("helpful", "Control", "You are a helpful assistant."))
"""Measured in every sweep, but not part of PSS: no system message, and the usual one."""
CONTROL_KEYS = tuple(control.key for control in CONTROLS)


def draw(pool: Sequence[Persona], seed: int, problem_id: str, epoch: int = 0) -> Persona:
    """Draw a persona uniformly (Algorithm 1): equal seed, problem and epoch give the same persona in every stage."""
    key = hashlib.sha256(f"persona\0{seed}\0{problem_id}\0{epoch}".encode()).digest()
    return pool[int.from_bytes(key[:8], "big") % len(pool)]


def read(table: Iterable[dict[str, Any]], where: str) -> list[Persona]:
    """Check and return the personas in `table`, called `where` in errors."""
    pool: list[Persona] = []
    for number, row in enumerate(table, 1):
        missing = [k for k in ("key", "category", "system_prompt") if not isinstance(row.get(k), str)]
        if missing:
            raise BadInput(f"Persona {number} of {where} has no text under {', '.join(missing)}: add it.")
        if not row["key"].strip() or not row["system_prompt"].strip():
            raise BadInput(f"Persona {number} of {where} has an empty key or system_prompt: fill it in or remove it.")
        pool.append(Persona(row["key"], row["category"], row["system_prompt"]))
    if not pool:
        raise BadInput(f"{where} holds no persona: give at least two.")
    keys = [p.key for p in pool]
    for key in keys:
        if keys.count(key) > 1:
            raise BadInput(f"The key {key!r} appears twice in {where}: keys must be unique.")
        if key in CONTROL_KEYS:
            raise BadInput(f"The key {key!r} in {where} is reserved for the control of that name: choose another.")
    return pool


def refuse_overlap(train: Sequence[Persona], held_out: Sequence[Persona]) -> None:
    """Raise BadInput when a persona (by key or by text) is in both pools."""
    texts = {p.system_prompt: p.key for p in train}
    for p in held_out:
        if p.system_prompt in texts or p.key in texts.values():
            raise BadInput(f"The persona {p.key!r} is in both pools, train and eval: remove it from one of them.")


def load(folder: Path, split: Literal["train", "eval"]) -> list[Persona]:
    """Return the pool `split` of a folder: `<split>.json`, or as `datasets` reads it (parquet, jsonl, csv)."""
    if (file := folder / f"{split}.json").is_file():
        return from_file(file)
    name = "the personas dataset"
    try:
        rows = parquet.of_split(folder, name, split)
    except BadInput as error:
        if split == "train":
            raise
        try:  # without a card, `datasets` calls the split of a file eval.* test
            rows = parquet.of_split(folder, name, "test")
        except BadInput:
            raise error from None
    return read(rows, f"split {split!r}")


def from_file(path: Path) -> list[Persona]:
    """Return the personas of a file: JSON like `personas/eval.json`, or TOML with a table [[persona]] for each."""
    if not path.is_file():
        raise BadInput(f"There is no file {path}: give the path of a JSON or TOML file with personas.")
    try:
        text = files.read_text(path)
        table = tomllib.loads(text).get("persona") if path.suffix == ".toml" else files.storable(json.loads(text))
    except ValueError as error:
        raise BadInput(f"{path.name} is not {'TOML' if path.suffix == '.toml' else 'JSON'}: {error}.") from None
    if not isinstance(table, list) or not all(isinstance(row, dict) for row in table):
        raise BadInput(f"{path.name} should list objects with key, category and system_prompt (in TOML: [[persona]]).")
    return read(table, path.name)


def label(path: str) -> str:
    """Return the name of a persona file, for the names of artifacts made with it."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", Path(path).stem).strip("-.") or "own"


def bundled(split: Literal["train", "eval"]) -> list[Persona]:
    """Return the paper's own pool (Tables 13-15)."""
    return load(files.PERSONAS, split)
