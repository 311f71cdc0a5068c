"""The verifier and the answer rule; real math-verify processes."""

import math
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from permix import verifier
from permix.errors import BadInput, PermixError
from permix.verifier import Kind, Problem, Verifier, accuracy_reward, answer, math_pool
from tests.support.cases import cases

CASES = cases(__file__)


@pytest.fixture(scope="module")
def grader() -> Iterator[Verifier]:
    with Verifier() as v:
        yield v


def workers(v: Verifier) -> list[Any]:
    return v._pool._workers


@pytest.mark.parametrize(("completion", "text"), CASES["completions"])
def test_the_answer_of_a_completion_is_what_the_rule_says(completion: str, text: str | None) -> None:
    assert answer.find(completion) == text


@pytest.mark.parametrize(
    "text", ["1200", "1,200", r"1{,}200", r"1\,200", r"1,\!200", "1 200", r"\$1,200", "+1200", "1200.0", "01200"]
)
def test_an_integer_is_known_however_it_is_written(text: str) -> None:
    assert answer.integer(text) == "1200"


@pytest.mark.parametrize("text", ["1,20", "1.5", "12%", "x", "1/2", "", "1 2", "٣", "12:00", "1,2,3"])
def test_what_is_no_plain_integer_is_left_to_math_verify(text: str) -> None:
    assert answer.integer(text) is None


@pytest.mark.parametrize(("boxed", "gold", "status"), CASES["mathematics"])
def test_mathematics_is_compared_by_value(grader: Verifier, boxed: str, gold: str, status: str) -> None:
    assert grader.grade(f"Therefore $\\boxed{{{boxed}}}$.", gold).status == status


@pytest.mark.parametrize(("kind", "gold", "completion", "status"), CASES["choice and exact"])
def test_choice_and_exact_answers_need_no_mathematics(kind: Kind, gold: str, completion: str, status: str) -> None:
    with Verifier() as v:
        assert v.grade(completion, Problem("p", "q", gold, kind)).status == status
        assert not workers(v)


HOSTILE = {
    "tower": r"\boxed{10^{10^{10}}}",
    "factorial": r"\boxed{(10^8)!}",
    "sum": r"\boxed{\sum_{i=1}^{10^9} \frac{1}{i^2}}",
    "braces": r"\boxed{" + "{" * 2000 + "1" + "}" * 2000 + "}",
    "unclosed": r"\boxed{" * 150_000,
    "megabyte": r"\boxed{" + "x+" * 500_000 + "1}",
    "megabyte before": r"\frac{1}{2}+" * 80_000 + r"\boxed{\frac12}",
    "digits": r"\boxed{" + "9" * 1_000_000 + "}",
    "blanks": "the answer is" + " " * 1_000_000 + "7",
    "announced": "the answer is " * 70_000,
    "backslashes": "\\boxed{" + "\\" * 4001 + "}",
    "control": "\\boxed{\x00\n\r\ud800}",
}


def test_hostile_answers_are_given_up_and_spoil_no_other() -> None:
    with Verifier() as v:
        for name in ("tower", "factorial", "braces"):
            assert v.grade(HOSTILE[name], r"\frac{1}{2}").status == "too_costly", name
        good = (r"\boxed{\frac{2}{4}}", r"\frac{1}{2}")
        verdicts = v.grade_many(pair for c in HOSTILE.values() for pair in ((c, r"\frac{1}{2}"), good))
    assert [verdict.status for verdict in verdicts[1::2]] == ["correct"] * len(HOSTILE)
    statuses = dict(zip(HOSTILE, (verdict.status for verdict in verdicts[::2]), strict=True))
    assert (statuses["megabyte before"], statuses["unclosed"]) == ("correct", "no_answer")
    assert set(statuses.values()) <= {"correct", "wrong", "no_answer", "too_costly"}
    assert all(len(verdict.extracted or "") <= verifier.LONGEST for verdict in verdicts)


def test_hostile_texts_are_read_in_linear_time() -> None:
    for name, text in HOSTILE.items():
        start = time.process_time()  # not what other programs cost
        answer.find(text)
        assert time.process_time() - start < 2, name


def test_integers_start_no_process_and_equal_answers_are_asked_once() -> None:
    with Verifier() as v:
        assert [x.status for x in v.grade_many([(r"\boxed{7}", "7"), ("A: 8", "7")])] == ["correct", "wrong"]
        assert not workers(v)
        v.grade_many([(r"\boxed{\frac{14}{2}}", "7")] * 500)
        assert len(workers(v)) == 1


def test_a_killed_worker_is_replaced_and_its_answer_graded() -> None:
    with Verifier(workers=1) as v:
        assert v.grade(r"\boxed{\frac{1}{2}}", "0.5").score == 1
        os.kill(workers(v)[0]._process.pid, signal.SIGKILL)
        assert v.grade(r"\boxed{\frac{1}{4}}", "0.25").score == 1


def script(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "worker.py"
    path.write_text(f"import os, sys, time\nprint('ready', flush=True)\nfor line in sys.stdin:\n    {body}\n")
    return path


@pytest.mark.parametrize(
    ("body", "status", "score"),
    [
        ("os.kill(os.getpid(), 9)", "verifier_crash", None),
        ("sys.exit(3)", "verifier_crash", None),
        ("os.abort()", "too_costly", 0.0),
        ("time.sleep(60)", "too_costly", 0.0),
    ],
)
def test_how_a_worker_ends_decides_whose_fault_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, status: str, score: float | None
) -> None:
    monkeypatch.setattr(math_pool, "_WORKER", script(tmp_path, body))
    monkeypatch.setattr(math_pool, "SECONDS", 0.3)
    with Verifier() as v:
        verdict = v.grade(r"\boxed{\frac{1}{2}}", "0.5")
    assert (verdict.status, verdict.score) == (status, score)


def test_a_crash_on_our_side_is_asked_again_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Verifier() as v:
        with monkeypatch.context() as broken:
            broken.setattr(math_pool, "_WORKER", script(tmp_path, "sys.exit(3)"))
            assert v.grade(r"\boxed{\frac{1}{2}}", "0.5").score is None
        assert v.grade(r"\boxed{\frac{1}{2}}", "0.5").score == 1


def test_math_verify_that_does_not_start_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "worker.py").write_text("import no_such_package")
    monkeypatch.setattr(math_pool, "_WORKER", tmp_path / "worker.py")
    with Verifier() as v, pytest.raises(PermixError, match="math-verify does not start"):
        v.grade(r"\boxed{\frac{1}{2}}", "0.5")


def test_workers_see_no_token_and_end_with_the_verifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with Verifier() as v:
        v.grade(r"\boxed{\frac{1}{2}}", "0.5")
        pid = workers(v)[0]._process.pid
        environ = Path(f"/proc/{pid}/environ")
        if environ.exists():
            assert b"hf_secret" not in environ.read_bytes()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_script_without_main_guard_that_is_killed_leaves_no_worker(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import os, signal\nfrom permix.verifier import accuracy_reward, shared\n"
        "print(accuracy_reward(['\\\\boxed{\\\\frac{1}{2}}'], ['0.5']), flush=True)\n"
        "print(shared()._pool._workers[0]._process.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    source = str(Path(verifier.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=60,
    )
    reward, pid = done.stdout.split("\n")[:2]
    assert reward == "[1.0]"
    gone = False
    for _ in range(100):
        status = Path(f"/proc/{pid}/stat")
        gone = not status.exists() or status.read_text().split(") ")[1][0] == "Z"
        if gone:
            break
        time.sleep(0.05)
    assert gone


def test_several_threads_share_one_verifier(grader: Verifier) -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        for i in range(20):
            k = 100 * number + i
            if grader.grade(f"\\boxed{{\\frac{{{2 * k + 1}}}{{2}}}}", f"{k}.5").score != 1:
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


def test_the_reward_has_trls_signature_and_is_the_score_of_evaluation() -> None:
    texts = [
        r"\boxed{72}",
        r"\boxed{\frac{1}{2}}",
        "no idea at all, and I will not even try to find out what it may be",
        "B",
    ]
    golds = ["72", "0.25", "1", "B"]
    kinds: list[Kind] = ["math", "math", "math", "choice"]
    columns: dict[str, list[Any]] = {}
    chats = [[{"role": "assistant", "content": text}] for text in texts]
    trl: dict[str, Any] = {"prompts": [""] * 4, "completion_ids": [[1]] * 4, "trainer_state": None}
    rewards = accuracy_reward(completions=chats, gold=golds, kind=kinds, log_extra=columns.__setitem__, **trl)
    assert rewards == [1.0, 0.0, 0.0, 1.0]
    assert columns["status"] == ["correct", "wrong", "no_answer", "correct"]
    assert columns["extracted"] == ["72", r"\frac{1}{2}", None, "B"]
    assert accuracy_reward(texts[:2], golds[:2]) == rewards[:2]
    assert pickle.loads(pickle.dumps(accuracy_reward)) is accuracy_reward
    assert accuracy_reward.__name__ == "accuracy_reward"


@pytest.mark.parametrize(("gold", "kind"), [("", "math"), (r"\frac{1}{2", "math"), ("Bird", "choice"), (" ", "exact")])
def test_a_gold_that_cannot_be_verified_is_refused_by_name(grader: Verifier, gold: str, kind: Kind) -> None:
    with pytest.raises(BadInput, match="problem p7"):
        grader.check_golds([Problem("p6", "", "A", "choice"), Problem("p7", "", gold, kind)])


def test_golds_of_every_kind_are_accepted(grader: Verifier) -> None:
    grader.check_golds(
        [Problem("a", "", g) for g in ("7", "[2,5)", r"\text{Evelyn}", r"\$6", "$6$", r"\frac{1}{2}")]
        + [Problem("b", "", "(c)", "choice"), Problem("c", "", "{", "exact")]
    )


def read(shared: Path, name: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as parquet

    rows: list[dict[str, Any]] = parquet.read_table(shared / "data" / "grading" / f"{name}.parquet").to_pylist()
    return rows


def test_every_recorded_gsm8k_answer_is_graded_as_its_label_says(shared: Path, grader: Verifier) -> None:
    rows = read(shared, "gsm8k_model_answers")
    verdicts = grader.grade_many((row["answer"], row["gold"]) for row in rows)
    assert [r["answer"] for r, v in zip(rows, verdicts, strict=True) if v.score != float(r["correct"])] == []


def test_every_recorded_math_answer_is_graded_as_labelled_but_for_one(shared: Path, grader: Verifier) -> None:
    rows = read(shared, "math_model_answers")
    verdicts = grader.grade_many((row["answer"], row["gold"]) for row in rows)
    other = [(r["gold"], v.extracted) for r, v in zip(rows, verdicts, strict=True) if v.score != float(r["correct"])]
    assert other == [("10{,}000", "10000")]  # they are equal: the label is wrong


def test_every_equivalence_case_is_graded_as_labelled_but_for_those_listed(shared: Path, grader: Verifier) -> None:
    rows = read(shared, "math_equivalence")

    def completion(text: str) -> str:
        if answer.BOX in text or re.search(r"answer(?: is|:)|^A:", text, re.IGNORECASE):
            return text
        formulas = re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", text, re.DOTALL)
        return f"\\boxed{{{''.join(formulas[-1]) if formulas else text}}}"

    verdicts = grader.grade_many((completion(row["answer"]), row["gold"]) for row in rows)
    other = {r["id"] for r, v in zip(rows, verdicts, strict=True) if v.score != float(r["expected"])}
    assert other == set(CASES["other verdicts than the labels"])


def test_scores_are_1_and_0_and_a_failure_of_ours_is_none() -> None:
    scores = {"correct": 1.0, "wrong": 0.0, "too_costly": 0.0, "verifier_crash": None}
    assert {status: verifier.Verdict(status, None).score for status in scores} == scores
    assert all(score is None or math.isfinite(score) for score in verifier.SCORES.values())


def test_a_whole_solution_is_no_gold() -> None:
    with Verifier() as verifier, pytest.raises(BadInput, match="is a whole solution"):
        verifier.check_golds([Problem("p1", "q", "2 + 2 = 4\n#### 4")])


def test_golds_that_are_words_are_named_in_a_note(grader: Verifier, capsys: pytest.CaptureFixture[str]) -> None:
    golds = ("N/A", "see solution", "Monday.", "72", "x", "\\frac{1}{2}", "x/y", "3 apples", "\\text{east}")
    grader.check_golds(Problem(f"p{number}", "", gold) for number, gold in enumerate(golds))
    note = capsys.readouterr().err
    assert "3 are words, such as 'N/A' (p0), 'see solution' (p1), 'Monday.' (p2): set" in note
    grader.check_golds([Problem("a", "", "see solution", "exact"), Problem("b", "", "7")])
    assert capsys.readouterr().err == ""
