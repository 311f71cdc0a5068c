"""The paper's statements as rows: a verbatim quote, its section, and a formula over table cells that it stands for."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from permix import paper

Cell = tuple[str, str, str]
"""Row (a variant, a public model or a family of them), benchmark, measure."""
TEACHERS = ("qwen3-32b", "llama3.1-70b", "gemma3-27b")
SEQKD = tuple(f"seqkd-{t}" for t in TEACHERS)
PERMIX_SEQKD = tuple(f"permix-seqkd-{t}" for t in TEACHERS)
TEACHER_FREE = ("base", "sft", "permix-sft-gold", "permix-sft-styled", "rlvr")
MATH, CODE = ("gsm8k", "math500"), ("livecodebench-easy", "livecodebench-medium")
GYM = ("personagym",)


@dataclass(frozen=True)
class Above:
    """Each of `rows` above `times` x each of `others`, in every one of `measures` on every one of `benchmarks`."""

    measures: tuple[str, ...]
    rows: tuple[str, ...]
    others: tuple[str, ...]
    benchmarks: tuple[str, ...]
    times: float = 1.0

    def pairs(self) -> Iterator[tuple[Cell, Cell]]:
        """Every comparison: the cell that should be above, and the other one."""
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
    """One statement of the paper (`quote` is verbatim), how it is read, and the formula."""

    quote: str
    section: str
    formula: tuple[Above, ...]
    reading: str = ""


def _statements() -> Iterator[Statement]:
    def above(
        measures: str, rows: str | Sequence[str], others: Sequence[str], benchmarks: Sequence[str], times: float = 1.0
    ) -> Above:
        left = (rows,) if isinstance(rows, str) else tuple(rows)
        return Above(tuple(measures.split()), left, tuple(others), tuple(benchmarks), times)

    def says(quote: str, section: str, *parts: Above, reading: str = "") -> Statement:
        return Statement(quote, section, parts, reading)

    ours, plain, gold, styled = "permix-rlvr", "rlvr", "permix-sft-gold", "permix-sft-styled"
    models = paper.printed("tables_8_9")["table8_math500"]["models"]
    qwen, llama, gemma = ([m for m in models if m.startswith(start)] for start in paper.FAMILIES.values())
    both, distilled, score = ("math500", "aime2024"), (*SEQKD, *PERMIX_SEQKD), "persona_consistency"
    yield says(
        "improves persona stability score (PSS) over RLVR by +21.2% on MATH500",
        "Abstract",
        above("pss", ours, [plain], ["math500"], 1.2115),
    )
    yield says(
        "enhancing persona fidelity by +11.4% on PersonaGym", "Abstract", above(score, ours, [plain], GYM, 1.1135)
    )
    yield says(
        "Qwen3 models consistently achieve higher PSS than Llama3 and Gemma3 across both benchmarks",
        "3.1",
        above("pss", qwen, [*llama, *gemma], both),
        reading="every model of the one family above every model of the others",
    )
    yield says(
        "a clear family-level ordering in persona robustness",
        "C.1",
        above("pss", "Qwen3", ["Gemma3"], both),
        above("pss", "Gemma3", ["Llama3"], both),
        reading="means of the families",
    )
    yield says(
        "Qwen3 consistently achieves the highest PSS",
        "C.1",
        above("pss", qwen[-1], [llama[-1], gemma[-1]], both),
        reading="the largest models",
    )
    yield says(
        "Llama3 exhibits the lowest PSS",
        "C.1",
        above("pss", [qwen[-1], gemma[-1]], [llama[-1]], both),
        reading="the largest models",
    )
    yield says(
        "scaling generally improves stability within a family",
        "C.1",
        *(above("pss", family[-1], family[:1], both) for family in (qwen, llama, gemma)),
        reading="the largest model against the smallest",
    )
    yield says("RLVR attenuates persona fidelity", "3.1", above(score, "base", [plain], GYM))
    yield says(
        "standard RLVR shows improvements in both accuracy and persona robustness",
        "4.2.2",
        above("mean pss", plain, ["base"], MATH),
    )
    yield says("PerMix-RLVR significantly outperforms these gains", "4.2.2", above("mean pss", ours, [plain], MATH))
    yield says(
        "substantially elevates the worst-case performance compared to RLVR",
        "4.2.2",
        above("worst", ours, [plain], MATH),
    )
    yield says(
        "inherently minimizes persona influence and increases PSS",
        "4.2.2",
        above("pss", gold, ["sft"], MATH),
        reading="PerMix-SFT on gold targets against SFT",
    )
    yield says(
        "accompanied by a significant degradation in overall accuracy", "4.2.2", above("mean", "base", [gold], MATH)
    )
    yield says(
        "a drastic decline in PSS",
        "4.2.2",
        above("pss", gold, [styled], MATH),
        reading="PerMix-SFT on styled targets against gold ones",
    )
    for measure in ("mean", "pss"):
        yield says(
            "maintains superior accuracy alongside highest PSS",
            "4.2.2",
            above(measure, ours, TEACHER_FREE, MATH),
            reading=f"{measure}, among the teacher-free methods",
        )
    yield says(
        "achieves a higher consistency score even when compared to PerMix-SFT",
        "4.2.2",
        above(score, ours, [styled], GYM),
    )
    yield says(
        "accuracy and PSS levels comparable to distillation methods",
        "4.2.3",
        above("mean pss", ours, distilled, MATH, 0.95),
        reading="at least 95 % of each",
    )
    yield says("achieving the highest worst-case accuracies", "4.2.3", above("worst", ours, distilled, MATH))
    yield says(
        "a higher PersonaGym consistency score than the distillation baselines",
        "4.2.3",
        above(score, ours, PERMIX_SEQKD, GYM),
        reading="those with personas in the teacher's prompt",
    )
    yield says(
        "standard RLVR appears particularly vulnerable",
        "4.2.4",
        above("pss", "base", [plain], CODE),
        reading="in code its PSS is below the base's",
    )
    yield says(
        "consistently improves persona robustness over the base model on both Easy and Medium splits",
        "4.2.4",
        above("pss", ours, ["base"], CODE),
    )
    yield says(
        "the most competitive teacher-free approach by significantly enhancing worst-case performance",
        "4.2.4",
        above("worst", ours, TEACHER_FREE, CODE),
    )
    yield says(
        "PerMix-RLVR achieves the best performance on PersonaGym",
        "C.2",
        above("mean", ours, [*TEACHER_FREE, *distilled], GYM),
        reading="mean of the five tasks",
    )
    yield says(
        "consistently improves worst-case performance and robustness across various personas",
        "5",
        above("worst pss", ours, ["base"], [*MATH, *CODE, "aime2024"]),
        reading="over the base, on every benchmark in math and code but LiveCodeBench Hard, where all PSS are 0",
    )


STATEMENTS = tuple(_statements())
