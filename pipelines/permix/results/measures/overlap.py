"""Is a benchmark in the training set? Overlap of word n-grams (as in Brown et al. 2020, GPT-3, App. C)."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from permix.verifier import Problem

N = 8
_WORD = re.compile(r"\w+")


def of_mixture(rows: Iterable[Mapping[str, Any]], problems: Sequence[Problem]) -> dict[str, Any]:
    """How many of a benchmark's problems share `N` words in a row with a question or a target of a mixture's rows.

    Keys as of `overlap`, without the positions; personas are left out, for they stand in every prompt of an evaluation.
    """
    # each text once: a problem comes again in every epoch
    texts = {text for row in rows for text in (row["question"], *(m["content"] for m in row.get("completion") or ()))}
    found = overlap(texts, [problem.question for problem in problems])
    del found["positions"]
    return found


def overlap(train_texts: Iterable[str], test_texts: Sequence[str], n: int = N) -> dict[str, Any]:
    """How many of the test texts share `n` words in a row with a training text, whatever case and punctuation.

    Keys: `n`, `train` and `test` (numbers of texts), `found`, `share` of the test texts (None without any), and
    `positions`: which of the test texts. A text of fewer words counts as found where all of it stands in a row.
    """
    tests = [_words(text) for text in test_texts]
    sizes = {min(n, len(words)) for words in tests if words}
    grams: dict[tuple[str, ...], set[int]] = {}
    for position, words in enumerate(tests):
        for gram in _grams(words, min(n, len(words))):
            grams.setdefault(gram, set()).add(position)
    found: set[int] = set()
    count = 0
    for text in train_texts:
        count, words = count + 1, _words(text)
        for size in sizes:
            for gram in _grams(words, size):
                found |= grams.get(gram, set())
    share = len(found) / len(tests) if tests else None
    return {
        "n": n,
        "train": count,
        "test": len(tests),
        "found": len(found),
        "share": share,
        "positions": sorted(found),
    }


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _grams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(n)), strict=False) if n else iter(())
