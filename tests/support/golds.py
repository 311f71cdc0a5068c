"""Gold answers and rationales of a benchmark, graded."""

from permix.verifier import Problem, Verifier


def check(problems: list[Problem]) -> None:
    """Raise BadInput for a gold answer that does not verify; every rationale must be graded as correct."""
    with Verifier() as verifier:
        verifier.check_golds(problems)
        verdicts = verifier.grade_many((problem.rationale, problem) for problem in problems if problem.rationale)
    assert {verdict.status for verdict in verdicts} <= {"correct"}
