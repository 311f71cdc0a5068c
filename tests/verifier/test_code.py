"""Programs graded: the rule for finding one, the comparison, every status, in the sandbox of this machine."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from permix.errors import BadInput
from permix.sandbox import Limits, Sandbox, backend
from permix.verifier import Problem, Verifier, accuracy_reward, code
from permix.verifier.code import Case, Suite
from tests.support.cases import cases

CASES = cases(__file__)

DOUBLE = json.dumps([{"input": "1\n", "output": "2\n"}, {"input": "21\n", "output": "42\n"}])
ADD = json.dumps({"entry": "add", "tests": [{"input": "1\n[2]", "output": "[1, 2]"}]})


def fenced(program: str) -> str:
    return f"Here it is:\n```python\n{program}\n```\nArr!"


@pytest.fixture(scope="module")
def grader() -> Iterator[Verifier]:
    with Verifier() as v:
        yield v


@pytest.mark.parametrize(
    ("completion", "program"),
    CASES["fences"],  # a third fence is read as upstream reads it
)
def test_the_program_stands_between_the_last_two_fences(completion: str, program: str | None) -> None:
    assert code.find(completion) == program


@pytest.mark.parametrize(("output", "expected", "same"), CASES["outputs"])
def test_output_is_compared_line_by_line_as_text_or_decimal_numbers(output: str, expected: str, same: bool) -> None:
    assert code.same_text(output, expected) is same


@pytest.mark.parametrize(
    ("output", "expected", "same"), [*CASES["results"], ("[" * 100_000, "[]", False), ("9" * 100_000, "9", False)]
)
def test_results_are_compared_by_value(output: str, expected: str, same: bool) -> None:
    assert code.same_value(output, expected) is same


STATUSES = [(text, {"double": DOUBLE, "add": ADD}[gold], status) for text, gold, status in CASES["statuses"]]


def test_every_way_to_end_has_its_status(grader: Verifier) -> None:
    pairs = [(text, Problem(f"p{n}", "", gold, "code")) for n, (text, gold, _) in enumerate(STATUSES)]
    verdicts = grader.grade_many(pairs)
    assert [verdict.status for verdict in verdicts] == [status for *_, status in STATUSES]
    assert [verdict.score for verdict in verdicts] == [float(status == "correct") for *_, status in STATUSES]
    assert verdicts[0].extracted == "print(2 * int(input()))"
    assert grader.grade_many(pairs) == verdicts
    assert grader.sandbox in ("bubblewrap", "landlock")


def test_a_program_that_never_ends_is_out_of_time() -> None:
    with Sandbox(limits=Limits(seconds=0.3)).open("while True: pass") as session:
        assert [ran.status for ran in code.run(session, Suite((Case("", ""), Case("", ""))))] == ["time_limit"]


def test_programs_and_mathematics_are_graded_together(grader: Verifier) -> None:
    double = Problem("d", "", DOUBLE, "code")
    pairs: list[tuple[str, Problem | str]] = [
        (r"\boxed{\frac{1}{2}}", "0.5"),
        (fenced("print(2 * int(input()))"), double),
        (r"\boxed{7}", "7"),
        (fenced("print()"), double),
    ]
    assert [verdict.score for verdict in grader.grade_many(pairs)] == [1.0, 1.0, 1.0, 0.0]


def test_the_first_failing_test_ends_the_run_unless_every_is_set(grader: Verifier) -> None:
    tests = Suite(tuple(Case(str(n), "1") for n in (0, 1, 2)))
    sandbox = Sandbox()
    with sandbox.open("print(int(input()))") as session:
        assert [ran.status for ran in code.run(session, tests)] == ["wrong"]
        assert [ran.status for ran in code.run(session, tests, every=True)] == ["wrong", "correct", "wrong"]


def test_a_failing_sandbox_gives_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [fenced("print(2 * int(input()))"), r"\boxed{7}"]
    columns: dict[str, list[Any]] = {}
    assert accuracy_reward(answers, [DOUBLE, "7"], ["code", "math"], columns.__setitem__) == [1.0, 1.0]
    monkeypatch.setattr(backend, "command", lambda back_end: ["false"])
    assert accuracy_reward(answers, [DOUBLE, "7"], ["code", "math"], columns.__setitem__) == [None, 1.0]
    assert columns["status"] == ["sandbox_error", "correct"]


@pytest.mark.parametrize(("gold", "says"), CASES["unusable tests"])
def test_tests_that_cannot_be_used_are_refused_by_name(grader: Verifier, gold: str, says: str) -> None:
    problem = Problem("p", "", gold, "code")
    with pytest.raises(BadInput, match=says):
        grader.check_golds([problem])
    with pytest.raises(BadInput, match=says):
        grader.grade(fenced("print(1)"), problem)


def test_quit_ends_a_program_except_in_livecodebench(grader: Verifier) -> None:
    class Upstream:
        def read(self) -> Suite:
            return Suite((Case("1", "2"),))

    for call, statuses in (("exit()", ["correct"] * 2), ("quit()", ["correct", "runtime_error"])):
        program = fenced(f"print(2 * int(input()))\n{call}\nprint(0)")
        problems = (Problem("own", "", DOUBLE, "code"), Problem("lcb", "", "", "code", tests=Upstream()))
        assert [grader.grade(program, problem).status for problem in problems] == statuses


def test_good_tests_are_accepted(grader: Verifier) -> None:
    grader.check_golds([Problem("a", "", DOUBLE, "code"), Problem("b", "", ADD, "code"), Problem("c", "", "7")])
