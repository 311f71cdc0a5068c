"""Contamination: overlap of word n-grams between a training set and a benchmark (Brown et al. 2020, GPT-3, App. C)."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from permix.verifier import Problem

N = 8
_WORD = re.compile(r"\w+")


def of_mixture(rows: Iterable[Mapping[str, Any]], problems: Sequence[Problem]) -> dict[str, Any]:
    """Count problems that share `N` consecutive words with a mixture, personas omitted; keys as in `overlap`."""
    # each text once: a problem is repeated in every epoch
    texts = {text for row in rows for text in (row["question"], *(m["content"] for m in row.get("completion") or ()))}
    counts = overlap(texts, [problem.question for problem in problems])
    del counts["positions"]
    return counts


def overlap(train_texts: Iterable[str], test_texts: Sequence[str], n: int = N) -> dict[str, Any]:
    """Count the test texts that share `n` consecutive words with a training text, ignoring case and punctuation.

    Keys: `n`; `train` and `test`, the numbers of texts; `found`, the overlapping test texts, with their `share` (None
    without test texts) and `positions`. A text of fewer words overlaps if all its words occur consecutively.
    """
    tests = [_words(text) for text in test_texts]
    sizes = {min(n, len(words)) for words in tests if words}
    grams: dict[tuple[str, ...], set[int]] = {}
    for position, words in enumerate(tests):
        for gram in _grams(words, min(n, len(words))):
            grams.setdefault(gram, set()).add(position)
    overlapping: set[int] = set()
    count = 0
    for text in train_texts:
        count, words = count + 1, _words(text)
        for size in sizes:
            for gram in _grams(words, size):
                overlapping |= grams.get(gram, set())
    share = len(overlapping) / len(tests) if tests else None
    counts = {"n": n, "train": count, "test": len(tests), "found": len(overlapping)}
    return {**counts, "share": share, "positions": sorted(overlapping)}


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _grams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(n)), strict=False) if n else iter(())
