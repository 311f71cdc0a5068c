"""The paper's statements as rows: a verbatim quote, its section, and its formula over table cells."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from permix import paper

Cell = tuple[str, str, str]
"""Row (a variant, a public model or a family), benchmark, measure."""
TEACHERS = ("qwen3-32b", "llama3.1-70b", "gemma3-27b")
SEQKD = tuple(f"seqkd-{t}" for t in TEACHERS)
PERMIX_SEQKD = tuple(f"permix-seqkd-{t}" for t in TEACHERS)
DISTILLED = (*SEQKD, *PERMIX_SEQKD)
TEACHER_FREE = ("base", "sft", "permix-sft-gold", "permix-sft-styled", "rlvr")
BOTH = ("math500", "aime2024")
MATH, CODE = ("gsm8k", "math500"), ("livecodebench-easy", "livecodebench-medium")
GYM = ("personagym",)
BASE, PLAIN, OURS = ("base",), ("rlvr",), ("permix-rlvr",)
GOLD, STYLED = ("permix-sft-gold",), ("permix-sft-styled",)
SCORE = "persona_consistency"
QWEN, LLAMA, GEMMA = map(paper.family, paper.FAMILIES)


@dataclass(frozen=True)
class Above:
    """Each of `rows` is above `times` x each of `others`, in every measure on every benchmark."""

    measures: tuple[str, ...]
    rows: tuple[str, ...]
    others: tuple[str, ...]
    benchmarks: tuple[str, ...]
    times: float = 1.0

    def pairs(self) -> Iterator[tuple[Cell, Cell]]:
        """Yield every comparison: the cell that should be above, and the other cell."""
        for benchmark in self.benchmarks:
            for measure in self.measures:
                for row, other in itertools.product(self.rows, self.others):
                    yield (row, benchmark, measure), (other, benchmark, measure)

    def __str__(self) -> str:
        rows, others = (
            names[0] if len(names) == 1 else f"each of {', '.join(names)}" for names in (self.rows, self.others)
        )
        times = "" if self.times == 1 else f"{self.times:g} x "
        return f"{' and '.join(self.measures)} of {rows} > {times}{others} on {', '.join(self.benchmarks)}"


@dataclass(frozen=True)
class Statement:
    """A statement of the paper: the verbatim `quote`, its formula, and how the formula reads it."""

    quote: str
    section: str
    formula: tuple[Above, ...]
    reading: str = ""


def _above(measures: str, rows: Sequence[str], others: Sequence[str], on: Sequence[str], times: float = 1.0) -> Above:
    return Above(tuple(measures.split()), tuple(rows), tuple(others), tuple(on), times)


def _says(section: str, quote: str, *parts: Above, reading: str = "") -> Statement:
    return Statement(quote, section, parts, reading)


STATEMENTS = (
    _says("Abstract", "improves persona stability score (PSS) over RLVR by +21.2% on MATH500",
          _above("pss", OURS, PLAIN, ["math500"], 1.2115)),
    _says("Abstract", "enhancing persona fidelity by +11.4% on PersonaGym", _above(SCORE, OURS, PLAIN, GYM, 1.1135)),
    _says("3.1", "Qwen3 models consistently achieve higher PSS than Llama3 and Gemma3 across both benchmarks",
          _above("pss", QWEN, [*LLAMA, *GEMMA], BOTH),
          reading="every model of the one family above every model of the others"),
    _says("C.1", "a clear family-level ordering in persona robustness", _above("pss", ["Qwen3"], ["Gemma3"], BOTH),
          _above("pss", ["Gemma3"], ["Llama3"], BOTH), reading="means of the families"),
    _says("C.1", "Qwen3 consistently achieves the highest PSS",
          _above("pss", QWEN[-1:], [LLAMA[-1], GEMMA[-1]], BOTH), reading="the largest models"),
    _says("C.1", "Llama3 exhibits the lowest PSS",
          _above("pss", [QWEN[-1], GEMMA[-1]], LLAMA[-1:], BOTH), reading="the largest models"),
    _says("C.1", "scaling generally improves stability within a family",
          *(_above("pss", family[-1:], family[:1], BOTH) for family in (QWEN, LLAMA, GEMMA)),
          reading="the largest model against the smallest"),
    _says("3.1", "RLVR attenuates persona fidelity", _above(SCORE, BASE, PLAIN, GYM)),
    _says("4.2.2", "standard RLVR shows improvements in both accuracy and persona robustness",
          _above("mean pss", PLAIN, BASE, MATH)),
    _says("4.2.2", "PerMix-RLVR significantly outperforms these gains", _above("mean pss", OURS, PLAIN, MATH)),
    _says("4.2.2", "substantially elevates the worst-case performance compared to RLVR",
          _above("worst", OURS, PLAIN, MATH)),
    _says("4.2.2", "inherently minimizes persona influence and increases PSS", _above("pss", GOLD, ["sft"], MATH),
          reading="PerMix-SFT on gold targets against SFT"),
    _says("4.2.2", "accompanied by a significant degradation in overall accuracy", _above("mean", BASE, GOLD, MATH)),
    _says("4.2.2", "a drastic decline in PSS", _above("pss", GOLD, STYLED, MATH),
          reading="PerMix-SFT on styled targets against gold ones"),
    *(_says("4.2.2", "maintains superior accuracy alongside highest PSS", _above(measure, OURS, TEACHER_FREE, MATH),
            reading=f"{measure}, among the teacher-free methods") for measure in ("mean", "pss")),
    _says("4.2.2", "achieves a higher consistency score even when compared to PerMix-SFT",
          _above(SCORE, OURS, STYLED, GYM)),
    _says("4.2.3", "accuracy and PSS levels comparable to distillation methods",
          _above("mean pss", OURS, DISTILLED, MATH, 0.95), reading="at least 95 % of each"),
    _says("4.2.3", "achieving the highest worst-case accuracies", _above("worst", OURS, DISTILLED, MATH)),
    _says("4.2.3", "a higher PersonaGym consistency score than the distillation baselines",
          _above(SCORE, OURS, PERMIX_SEQKD, GYM), reading="those with personas in the teacher's prompt"),
    _says("4.2.4", "standard RLVR appears particularly vulnerable", _above("pss", BASE, PLAIN, CODE),
          reading="in code its PSS is below the base's"),
    _says("4.2.4", "consistently improves persona robustness over the base model on both Easy and Medium splits",
          _above("pss", OURS, BASE, CODE)),
    _says("4.2.4", "the most competitive teacher-free approach by significantly enhancing worst-case performance",
          _above("worst", OURS, TEACHER_FREE, CODE)),
    _says("C.2", "PerMix-RLVR achieves the best performance on PersonaGym",
          _above("mean", OURS, [*TEACHER_FREE, *DISTILLED], GYM), reading="mean of the five tasks"),
    _says("5", "consistently improves worst-case performance and robustness across various personas",
          _above("worst pss", OURS, BASE, [*MATH, *CODE, "aime2024"]),
          reading="over the base, on every benchmark in math and code but LiveCodeBench Hard, where all PSS are 0"),
)  # fmt: skip
