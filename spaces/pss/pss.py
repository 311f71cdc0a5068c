"""PSS, the persona stability score, as a metric for `evaluate.load`: worst / best accuracy over personas."""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from .pss_core import compute

_DESCRIPTION = """
The persona stability score (PSS) measures how far a model's accuracy depends on the persona in its system prompt:
the worst accuracy under any persona divided by the best. 1 is perfectly stable.
"""

_CITATION = """
@article{oh2026permixrlvr,
  title={PerMix-RLVR: Preserving Persona Expressivity under Verifiable-Reward Alignment},
  author={Oh, Jihwan and Oh, Soowon and Aghazada, Murad and Jeong, Minchan and Kang, MyeongSeok and
          Kim, Sungnyun and Yun, Se-Young},
  journal={arXiv preprint arXiv:2604.08986},
  year={2026}
}
"""

_INPUTS = """
Args:
    scores: one number in [0, 1] per answer (1 = correct), or one accuracy per persona.
    personas: the persona of each score, a text.
    problems: optional, the problem of each score; gives intervals, the PSS without a persona effect, the correction.
    runs: optional, the run of each score; gives the mean of the per-run PSS.
    seed: seed of the resampling.
Returns:
    a dictionary; the metric card lists its keys.
Examples:
    >>> pss = evaluate.load("permix/pss")
    >>> result = pss.compute(scores=[1, 0, 1, 1], personas=["poet", "poet", "expert", "expert"])
    >>> result["pss"]
    0.5
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class PSS(evaluate.Metric):
    """The metric; all statistics are in pss_core.py."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"scores": datasets.Value("float64"), "personas": datasets.Value("string")}),
            reference_urls=["https://arxiv.org/abs/2604.08986"],
        )

    def _compute(
        self,
        scores: Sequence[float],
        personas: Sequence[str],
        problems: Sequence[Any] | None = None,
        runs: Sequence[Any] | None = None,
        seed: int = 0,
    ) -> dict[str, Any]:
        return compute(scores, personas, problems, runs, seed)
