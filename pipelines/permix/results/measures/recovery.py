r"""How well the persona can be recovered from the text of an answer: fidelity without a judge.

A classifier learns the personas from the answers to some problems and names the persona of each answer to the others;
recovery is the share it names right, averaged over the personas. It sees words and pairs of words of the completion
alone, without numbers and the final answer: regularised least squares (Rifkin, Yeo and Poggio 2003) on the features
with the highest chi-square. Its closed form gives the same numbers on any machine, which `permix verify` relies on.
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
from permix.prompting import persona

Row = Mapping[str, Any]
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]
LARGEST = 20_000  # texts of one sweep that are used, whole (problem, run) pairs: more would hardly move the number
SPACE = 1 << 18  # hashed features
KEPT = 1024  # features the classifier sees
RIDGE = 1.0  # on rows of length 1
FOLDS = 5
CONTROLS = {control.key for control in persona.CONTROLS}
CLOSE = 1e-6  # scores nearer than this are a tie, whatever another machine's last bit says
_BOXED = re.compile(r"\\boxed\s*\{(?:[^{}]++|\{(?:[^{}]++|\{[^{}]*+\})*+\})*+\}")
_ANNOUNCED = re.compile(r"(\banswer\s?(?:is\b|:)|^####|^A:)[^\n]*?(?=[.!?](?:\s|$)|$)", re.IGNORECASE | re.MULTILINE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_WORD = re.compile(r"\w+|[^\w\s]|\n")


def of_rows(table: Sequence[Row], *, draws: int) -> dict[str, Any] | None:
    """Recovery within one sweep on one benchmark: learned and measured on its own answers; see `Learned.ask`."""
    return across(table, table, draws=draws)


def across(learned: Sequence[Row], asked: Sequence[Row], *, draws: int) -> dict[str, Any] | None:
    """Recovery of the personas of `asked` by a classifier that learned them from `learned`; see `Learned.ask`."""
    found = learn(learned)
    return None if found is None else found.ask(asked, draws=draws)


def learn(table: Sequence[Row], largest: int = LARGEST) -> "Learned | None":
    """What classifiers learn of the personas from at most so many answers, each without one fold of the problems.

    None where completions are not recorded, and for less than two personas or problems.
    """
    people = _personas(table)
    if not _usable(table, people):
        return None
    texts = _read(table, people, largest)
    fold = _folds(set(texts.problem))
    held_out = np.array([fold[problem] for problem in texts.problem])
    classifiers = tuple(_fit(texts, held_out != number, len(people)) for number in range(max(fold.values()) + 1))
    return Learned(people, fold, classifiers, table, texts, largest)


@dataclass(frozen=True, eq=False)
class Learned:
    """One classifier for each fold of the problems, which has not seen that fold."""

    people: Sequence[str]
    fold: Mapping[str, int]
    classifiers: Sequence["_Classifier"]
    table: Sequence[Row]
    texts: "_Texts"
    largest: int

    def ask(self, table: Sequence[Row], *, draws: int) -> dict[str, Any] | None:
        """Recovery of the personas of a sweep's answers, never by a classifier that has seen their problem.

        {"accuracy", "low", "high", "chance", "by_persona": {persona: share}, "taken_for": {persona: another or None}}:
        balanced accuracy, its 95 % interval, and whom each persona is most often mistaken for. The interval is a
        bootstrap over problems, widened because the folds learn from much the same answers (Nadeau and Bengio 2003,
        section 3). An empty completion is not recovered, one without any known word is a guess. None as in `learn`.
        BadInput where the answers are of other personas.
        """
        if odd := set(self.people) ^ {row["persona"] for row in table} - CONTROLS:
            raise BadInput(
                f"Only one of the two sweeps has the persona {min(odd)!r}: give sweeps of the same personas."
            )
        if not _usable(table, self.people):
            return None
        texts = self.texts if table is self.table else _read(table, self.people, self.largest)
        fold = np.array([self.fold.get(problem, 0) for problem in texts.problem])  # unseen: any classifier will do
        credit = np.zeros((len(texts.who), len(self.people)))
        for number, classifier in enumerate(self.classifiers):
            credit[fold == number] = _classify(texts, fold == number, classifier)
        credit[~texts.spoken] = 0
        return _summary(credit, texts, self.people, draws, len(self.classifiers))


def bare(completion: str) -> str:
    """The completion without its final answer and without numbers."""
    text = _ANNOUNCED.sub(r"\1", _BOXED.sub(r"\\boxed", completion))
    return _NUMBER.sub("", text)


@dataclass(frozen=True)
class _Texts:
    """Texts: `feature[i]` is in text `row[i]`; by text its persona's number, problem, and whether it says anything."""

    row: Codes
    feature: Codes
    who: Codes
    problem: tuple[str, ...]
    spoken: Mask


def _personas(table: Sequence[Row]) -> list[str]:
    return sorted({row["persona"] for row in table} - CONTROLS)


def _usable(table: Sequence[Row], people: Sequence[str]) -> bool:
    recorded = all(row.get("completion") is not None for row in table)
    return recorded and len(people) > 1 and len({row["problem_id"] for row in table}) > 1


def _read(table: Sequence[Row], people: Sequence[str], largest: int) -> _Texts:
    """The features of the personas' answers, in an order of their own: that of the rows changes nothing."""
    number = {who: i for i, who in enumerate(people)}
    rows = [row for row in table if row["persona"] in number]
    pairs = sorted({(row["run"], crc32(row["problem_id"].encode()), row["problem_id"]) for row in rows})
    kept = {(run, problem) for run, _, problem in pairs[: largest // len(people)]}
    rows = [row for row in rows if (row["run"], row["problem_id"]) in kept]
    rows.sort(key=lambda row: (row["problem_id"], row["run"], row["persona"]))
    found = [np.fromiter(_features(row["completion"]), np.int64) for row in rows]
    return _Texts(
        row=np.repeat(np.arange(len(rows)), [len(features) for features in found]),
        feature=np.concatenate(found),
        who=np.array([number[row["persona"]] for row in rows]),
        problem=tuple(row["problem_id"] for row in rows),
        spoken=np.array([bool(row["completion"].strip()) for row in rows]),
    )


def _features(completion: str) -> set[int]:
    words = _WORD.findall(bare(completion))
    return {crc32(text.encode()) % SPACE for text in (*words, *(f"{a} {b}" for a, b in pairwise(words)))}


def _folds(problems: set[str]) -> dict[str, int]:
    """Every problem's part of FOLDS (2 where there are few problems), by its hash."""
    count = FOLDS if len(problems) >= 2 * FOLDS else 2
    return {p: i % count for i, p in enumerate(sorted(problems, key=lambda p: (crc32(p.encode()), p)))}


@dataclass(frozen=True)
class _Classifier:
    """The features it sees, the weight of each (the rarer the larger), and a score by feature and persona."""

    chosen: Codes
    weight: Floats
    scores: Floats


def _fit(texts: _Texts, used: Mask, people: int) -> _Classifier:
    """Learn from the texts `used` that say something."""
    used = used & texts.spoken
    total = max(int(used.sum()), 1)
    shares = np.bincount(texts.who[used], minlength=people) / total
    inside = used[texts.row]
    feature, who = texts.feature[inside], texts.who[texts.row[inside]]
    common = np.bincount(feature, minlength=SPACE)
    known = np.flatnonzero(common >= 2)
    at = _places(known)[feature]
    present = np.bincount(at[at >= 0] * people + who[at >= 0], minlength=len(known) * people).reshape(-1, people)
    expected = common[known, None] * shares
    telling = (np.square(present - expected) / np.maximum(expected, 1e-9)).sum(1)  # chi-square
    chosen = known[np.argsort(-telling.round(6), kind="stable")[:KEPT]]
    weight = np.log(total / common[chosen])
    seen = _seen(texts, used, chosen, weight)
    wanted = np.eye(people)[texts.who[used]] - shares
    scores = np.linalg.solve(seen.T @ seen + RIDGE * np.eye(len(chosen)), seen.T @ wanted)
    return _Classifier(chosen, weight, np.asarray(scores, dtype=np.float64))


def _classify(texts: _Texts, which: Mask, by: _Classifier) -> Floats:
    """Credit [texts, people]: 1 for the persona named, shared by those that tie, as without any known feature."""
    scores = _seen(texts, which, by.chosen, by.weight) @ by.scores
    best = scores > scores.max(1, keepdims=True) - CLOSE
    return np.asarray(best / best.sum(1, keepdims=True))


def _seen(texts: _Texts, which: Mask, chosen: Codes, weight: Floats) -> Floats:
    """[texts, chosen]: the weight of each feature that is there, rows of length 1."""
    at, inside = _places(chosen)[texts.feature], which[texts.row]
    inside &= at >= 0
    dense = np.zeros((int(which.sum()), len(chosen)))
    dense[(np.cumsum(which) - 1)[texts.row[inside]], at[inside]] = weight[at[inside]]
    dense /= np.maximum(np.sqrt(np.square(dense).sum(1, keepdims=True)), 1e-9)
    return dense


def _places(features: Codes) -> Codes:
    """Where in `features` each of SPACE stands, or -1."""
    places = np.full(SPACE, -1)
    places[features] = np.arange(len(features))
    return places


def _summary(credit: Floats, texts: _Texts, people: Sequence[str], draws: int, folds: int) -> dict[str, Any]:
    names = sorted(set(texts.problem))
    number = {p: i for i, p in enumerate(names)}
    cells = texts.who * len(names) + np.array([number[p] for p in texts.problem])
    size = len(people) * len(names)
    right = np.bincount(cells, credit[np.arange(len(cells)), texts.who], size).reshape(len(people), -1)
    counts = np.bincount(cells, minlength=size).reshape(len(people), -1)
    by_persona = right.sum(1) / counts.sum(1)
    weights = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    ends = np.quantile((weights @ right.T / np.maximum(weights @ counts.T, 1)).mean(1), [0.025, 0.975])
    accuracy, wider = float(by_persona.mean()), math.sqrt(1 + folds / (folds - 1))
    low, high = np.clip(accuracy + wider * (ends - accuracy), 0, 1).tolist()
    taken = np.eye(len(people))[texts.who].T @ credit
    np.fill_diagonal(taken, 0)
    others = [people[int(row.argmax())] if row.any() else None for row in taken.round(6)]
    return {
        "accuracy": round(accuracy, 6),
        "low": round(low, 6),
        "high": round(high, 6),
        "chance": round(1 / len(people), 6),
        "by_persona": {who: round(float(share), 6) for who, share in zip(people, by_persona, strict=True)},
        "taken_for": dict(zip(people, others, strict=True)),
    }
