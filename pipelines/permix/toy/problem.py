"""Word problems of chained sums, from a seed or a text. A question's hash decides its part: training or held-out."""

import random
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from permix.errors import BadInput
from permix.verifier import Problem

Part = Literal["pretraining", "train", "test", "long"]
LARGEST = 30  # all intermediate values are between 0 and this
LENGTHS = {1: 0.2, 2: 0.45, 3: 0.35}
LONG = {4: 0.5, 5: 0.5}
SHE = ("Ana", "Eva", "Ida", "Lea", "Mia", "Zoe")
HE = ("Ben", "Leo", "Max", "Noah", "Sam", "Tom")
THINGS = ("apples", "books", "cards", "coins", "cups", "eggs", "nuts", "pens", "plums", "shells", "stamps", "toys")
FORMS = {
    "+": ("{who} buys {n} more.", "{who} finds {n} more.", "{who} gets {n} from a friend."),
    "-": ("{who} loses {n}.", "{who} sells {n}.", "{who} gives {n} to a friend."),
}
START = {"": "{name} has {a} {thing}.", "*": "{name} has {a} boxes with {n} {thing} each."}
ASK = ("How many {thing} does {name} have now?", "How many {thing} are left?")
_READ_START = {op: re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>\\w+)", re.escape(form))) for op, form in START.items()}
_READ_STEP = [
    (op, re.compile(re.sub(r"\\{n\\}", r"(\\d+)", re.escape(form).replace(r"\{who\}", "(?:She|He)"))))
    for op, forms in FORMS.items()
    for form in forms
]


@dataclass(frozen=True)
class Chain:
    """The sum behind a problem: a start value, operations `(+ | - | *, operand)`, and the counted things."""

    start: int
    steps: tuple[tuple[str, int], ...]
    thing: str

    @property
    def values(self) -> list[int]:
        """The value after each step."""
        values = [self.start]
        for op, n in self.steps:
            values.append(values[-1] + n if op == "+" else values[-1] - n if op == "-" else values[-1] * n)
        return values[1:]


def part_of(question: str) -> Literal["pretraining", "train", "test"]:
    """Return the part of a question: one eighth each for training and testing, the rest for pretraining."""
    bucket = zlib.crc32(question.encode()) % 8
    return "test" if bucket == 0 else "train" if bucket == 1 else "pretraining"


def draw(rng: random.Random, lengths: dict[int, float]) -> tuple[str, Chain]:
    """Draw one question, of any part, and its chain; `lengths` are the odds of each number of steps."""
    count = rng.choices(list(lengths), list(lengths.values()))[0]
    she = rng.random() < 0.5
    name, thing = rng.choice(SHE if she else HE), rng.choice(THINGS)
    steps: list[tuple[str, int]] = []
    if rng.random() < 0.3:
        start, n = rng.randint(2, 4), rng.randint(2, 7)
        steps.append(("*", n))
        value, sentences = start * n, [START["*"].format(name=name, a=start, n=n, thing=thing)]
    else:
        start = value = rng.randint(3, 20)
        sentences = [START[""].format(name=name, a=start, thing=thing)]
    while len(steps) < count:
        op, n = rng.choice("+-"), rng.randint(1, 9)
        after = value + n if op == "+" else value - n
        if 0 <= after <= LARGEST:
            value = after
            steps.append((op, n))
            sentences.append(rng.choice(FORMS[op]).format(who="She" if she else "He", n=n))
    sentences.append(rng.choice(ASK).format(thing=thing, name=name))
    return " ".join(sentences), Chain(start, tuple(steps), thing)


def draw_from(part: Part, rng: random.Random, lengths: dict[int, float]) -> tuple[str, Chain]:
    """Draw one question of `part`; `long` shares the test's eighth."""
    bucket = "test" if part == "long" else part
    while True:
        question, chain = draw(rng, lengths)
        if part_of(question) == bucket:
            return question, chain


def problems(part: Part, seed: int = 0) -> Iterator[Problem]:
    """Yield the problems of a part endlessly and without repeats; ids count from 0."""
    rng, seen = random.Random(f"toy\0{part}\0{seed}"), set[str]()  # noqa: S311
    while True:
        question, chain = draw_from(part, rng, LONG if part == "long" else LENGTHS)
        if question not in seen:
            yield Problem(f"arithmetic/{part}/{len(seen)}", question, str(chain.values[-1]))
            seen.add(question)


def read(question: str) -> Chain:
    """Return the chain behind a question of this world; BadInput for any other text."""
    first, *rest = re.findall(r"[^.?]+[.?]", question) or [""]
    for op, form in _READ_START.items():
        if start := form.fullmatch(first.strip()):
            steps = [(op, int(start["n"]))] if op else []
            for sentence in rest[:-1]:
                steps += [(o, int(m[1])) for o, step in _READ_STEP if (m := step.fullmatch(sentence.strip()))]
            if len(steps) == len(rest) - 1 + bool(op):
                return Chain(int(start["a"]), tuple(steps), start["thing"])
    raise BadInput(f"{question[:60]!r} is not a problem of the toy world: only `arithmetic` has its rationales.")
