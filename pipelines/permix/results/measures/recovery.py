r"""Recovery of the persona from the text of an answer: fidelity without a judge.

A classifier is trained on the answers to some problems and names the persona of each answer to the others. Recovery is
the share of right names, averaged over the personas. The features are words and pairs of words of the completion,
without numbers and the final answer; those with the highest chi-square enter regularised least squares (Rifkin, Yeo and
Poggio 2003). Its closed form gives the same numbers on every machine, as `permix verify` needs.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from permix.errors import BadInput
from permix.prompting.persona import CONTROL_KEYS

Row = Mapping[str, Any]
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]
LARGEST = 20_000  # texts used of one sweep, in whole (problem, run) pairs; more would hardly change the number
SPACE = 1 << 18  # hashed features
FEATURES = 1024  # features of the classifier
RIDGE = 1.0  # on rows of length 1
FOLDS = 5
CLOSE = 1e-6  # closer scores are a tie, so that another machine's last bit changes nothing
_BOXED = re.compile(r"\\boxed\s*\{(?:[^{}]++|\{(?:[^{}]++|\{[^{}]*+\})*+\})*+\}")
_ANNOUNCED = re.compile(r"(\banswer\s?(?:is\b|:)|^####|^A:)[^\n]*?(?=[.!?](?:\s|$)|$)", re.IGNORECASE | re.MULTILINE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_WORD = re.compile(r"\w+|[^\w\s]|\n")


def of_rows(table: Sequence[Row], *, draws: int) -> dict[str, Any] | None:
    """Return recovery within one sweep on one benchmark (see `Classifiers.measure`)."""
    return across(table, table, draws=draws)


def across(training: Sequence[Row], test: Sequence[Row], *, draws: int) -> dict[str, Any] | None:
    """Return recovery on `test` by classifiers trained on `training` (see `Classifiers.measure`)."""
    classifiers = train(training)
    return None if classifiers is None else classifiers.measure(test, draws=draws)


def train(table: Sequence[Row], largest: int = LARGEST) -> "Classifiers | None":
    """Train a classifier per fold on `largest` answers of the other folds; None below two personas or problems."""
    people = _personas(table)
    if not _usable(table, people):
        return None
    texts = _read(table, people, largest)
    fold = _folds(set(texts.problem))
    held_out = np.array([fold[problem] for problem in texts.problem])
    by_fold = tuple(_fit(texts, held_out != number, len(people)) for number in range(max(fold.values()) + 1))
    return Classifiers(people, fold, by_fold, table, texts, largest)


@dataclass(frozen=True, eq=False)
class Classifiers:
    """One classifier per fold of the problems, trained without that fold."""

    people: Sequence[str]
    fold: Mapping[str, int]
    by_fold: Sequence["_Classifier"]
    table: Sequence[Row]
    texts: "_Texts"
    largest: int

    def measure(self, table: Sequence[Row], *, draws: int) -> dict[str, Any] | None:
        """Return recovery on a sweep's answers, each by a classifier that was not trained on its problem.

        {"accuracy", "low", "high", "chance", "by_persona": {persona: share}, "taken_for": {persona: another or None}}:
        balanced accuracy, its 95 % interval, and the persona that each is most often mistaken for. The interval is a
        bootstrap over problems, widened because the folds share most training answers (Nadeau and Bengio 2003, section
        3). An empty completion counts as not recovered, one without a known word as a guess. None as in `train`. Raise
        BadInput if the personas differ.
        """
        if odd := set(self.people) ^ {row["persona"] for row in table} - set(CONTROL_KEYS):
            raise BadInput(f"Only one of the sweeps has the persona {min(odd)!r}: give sweeps of the same personas.")
        if not _usable(table, self.people):
            return None
        texts = self.texts if table is self.table else _read(table, self.people, self.largest)
        fold = np.array([self.fold.get(problem, 0) for problem in texts.problem])  # new problems: any classifier
        credit = np.zeros((len(texts.persona), len(self.people)))
        for number, classifier in enumerate(self.by_fold):
            credit[fold == number] = _classify(texts, fold == number, classifier)
        credit[~texts.nonempty] = 0
        return _summary(credit, texts, self.people, draws, len(self.by_fold))


def bare(completion: str) -> str:
    """Return the completion without its final answer and without numbers."""
    text = _ANNOUNCED.sub(r"\1", _BOXED.sub(r"\\boxed", completion))
    return _NUMBER.sub("", text)


@dataclass(frozen=True)
class _Texts:
    """Features `feature[i]` of the texts `row[i]`; per text the number of its persona, its problem, and `nonempty`."""

    row: Codes
    feature: Codes
    persona: Codes
    problem: tuple[str, ...]
    nonempty: Mask


def _personas(table: Sequence[Row]) -> list[str]:
    return sorted({row["persona"] for row in table} - set(CONTROL_KEYS))


def _usable(table: Sequence[Row], people: Sequence[str]) -> bool:
    recorded = all(row.get("completion") is not None for row in table)
    return recorded and len(people) > 1 and len({row["problem_id"] for row in table}) > 1


def _read(table: Sequence[Row], people: Sequence[str], largest: int) -> _Texts:
    """Return the features of the personas' answers in an order that does not depend on that of the rows."""
    number = {key: i for i, key in enumerate(people)}
    rows = [row for row in table if row["persona"] in number]
    pairs = sorted({(row["run"], crc32(row["problem_id"].encode()), row["problem_id"]) for row in rows})
    used = {(run, problem) for run, _, problem in pairs[: largest // len(people)]}
    rows = [row for row in rows if (row["run"], row["problem_id"]) in used]
    rows.sort(key=lambda row: (row["problem_id"], row["run"], row["persona"]))
    features = [np.fromiter(_features(row["completion"]), np.int64) for row in rows]
    return _Texts(
        row=np.repeat(np.arange(len(rows)), [len(own) for own in features]),
        feature=np.concatenate(features),
        persona=np.array([number[row["persona"]] for row in rows]),
        problem=tuple(row["problem_id"] for row in rows),
        nonempty=np.array([bool(row["completion"].strip()) for row in rows]),
    )


def _features(completion: str) -> set[int]:
    words = _WORD.findall(bare(completion))
    return {crc32(text.encode()) % SPACE for text in (*words, *(f"{a} {b}" for a, b in pairwise(words)))}


def _folds(problems: set[str]) -> dict[str, int]:
    """Return {problem: its number among FOLDS folds (2 for few problems)}, by its hash."""
    count = FOLDS if len(problems) >= 2 * FOLDS else 2
    return {p: i % count for i, p in enumerate(sorted(problems, key=lambda p: (crc32(p.encode()), p)))}


@dataclass(frozen=True)
class _Classifier:
    """The features used, their weights (larger for rarer ones), and the scores [features, personas]."""

    chosen: Codes
    weight: Floats
    scores: Floats


def _fit(texts: _Texts, used: Mask, people: int) -> _Classifier:
    used = used & texts.nonempty
    total = max(int(used.sum()), 1)
    shares = np.bincount(texts.persona[used], minlength=people) / total
    inside = used[texts.row]
    feature, persona_of = texts.feature[inside], texts.persona[texts.row[inside]]
    counts = np.bincount(feature, minlength=SPACE)
    known = np.flatnonzero(counts >= 2)
    at = _positions(known)[feature]
    observed = np.bincount(at[at >= 0] * people + persona_of[at >= 0], minlength=len(known) * people)
    expected = counts[known, None] * shares
    chi_square = (np.square(observed.reshape(-1, people) - expected) / np.maximum(expected, 1e-9)).sum(1)
    chosen = known[np.argsort(-chi_square.round(6), kind="stable")[:FEATURES]]
    weight = np.log(total / counts[chosen])
    design = _design(texts, used, chosen, weight)
    target = np.eye(people)[texts.persona[used]] - shares
    scores = np.linalg.solve(design.T @ design + RIDGE * np.eye(len(chosen)), design.T @ target)
    return _Classifier(chosen, weight, np.asarray(scores, dtype=np.float64))


def _classify(texts: _Texts, mask: Mask, classifier: _Classifier) -> Floats:
    """Return credit [texts, people]: 1 for the persona named; ties (also without a known feature) share it."""
    scores = _design(texts, mask, classifier.chosen, classifier.weight) @ classifier.scores
    best = scores > scores.max(1, keepdims=True) - CLOSE
    return np.asarray(best / best.sum(1, keepdims=True))


def _design(texts: _Texts, mask: Mask, chosen: Codes, weight: Floats) -> Floats:
    """Return [texts, chosen]: the weights of the features in each text, as rows of length 1."""
    at, inside = _positions(chosen)[texts.feature], mask[texts.row]
    inside &= at >= 0
    dense = np.zeros((int(mask.sum()), len(chosen)))
    dense[(np.cumsum(mask) - 1)[texts.row[inside]], at[inside]] = weight[at[inside]]
    dense /= np.maximum(np.sqrt(np.square(dense).sum(1, keepdims=True)), 1e-9)
    return dense


def _positions(features: Codes) -> Codes:
    positions = np.full(SPACE, -1)
    positions[features] = np.arange(len(features))
    return positions


def _summary(credit: Floats, texts: _Texts, people: Sequence[str], draws: int, folds: int) -> dict[str, Any]:
    names = sorted(set(texts.problem))
    number = {p: i for i, p in enumerate(names)}
    cells = texts.persona * len(names) + np.array([number[p] for p in texts.problem])
    size = len(people) * len(names)
    right = np.bincount(cells, credit[np.arange(len(cells)), texts.persona], size).reshape(len(people), -1)
    counts = np.bincount(cells, minlength=size).reshape(len(people), -1)
    by_persona = right.sum(1) / counts.sum(1)
    weights = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    ends = np.quantile((weights @ right.T / np.maximum(weights @ counts.T, 1)).mean(1), [0.025, 0.975])
    accuracy, wider = float(by_persona.mean()), math.sqrt(1 + folds / (folds - 1))
    low, high = np.clip(accuracy + wider * (ends - accuracy), 0, 1).tolist()
    confusion = np.eye(len(people))[texts.persona].T @ credit
    np.fill_diagonal(confusion, 0)
    others = [people[int(row.argmax())] if row.any() else None for row in confusion.round(6)]
    return {
        "accuracy": round(accuracy, 6),
        "low": round(low, 6),
        "high": round(high, 6),
        "chance": round(1 / len(people), 6),
        "by_persona": {key: round(float(share), 6) for key, share in zip(people, by_persona, strict=True)},
        "taken_for": dict(zip(people, others, strict=True)),
    }
