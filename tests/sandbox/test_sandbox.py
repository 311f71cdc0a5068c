"""What honest programs get in the sandbox, and what happens where it does not work."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import permix
from permix.cli import app
from permix.errors import PermixError
from permix.sandbox import Limits, Sandbox, SandboxError, backend, choose, proof, prove, seccomp
from permix.sandbox.backend import SAFE, BackEnd
from tests.support.command_line import permix as command_line

SOURCE = str(Path(permix.__file__).parents[1])


@pytest.fixture
def box(back_end: BackEnd) -> Sandbox:
    return Sandbox(back_end)


@pytest.fixture
def undecided(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No back end has been proved and chosen yet in this process, and none afterwards."""
    monkeypatch.setattr(proof, "prove", prove.__wrapped__)
    choose.cache_clear()
    yield
    choose.cache_clear()


def test_a_program_has_real_standard_streams(box: Sandbox) -> None:
    program = "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read() + bytes([255]))"
    result = box.run(program, b"41\n\xfe")
    assert (result.status, result.output, result.back_end) == ("ok", b"41\n\xfe\xff", box.back_end)
    assert box.run("print(open(0).read(), __name__)", b"x").output == b"x __main__\n"


def test_input_and_output_of_many_megabytes_arrive(box: Sandbox) -> None:
    assert box.run("import sys\nsys.stdout.write(sys.stdin.read())", b"x" * 5_000_000).output == b"x" * 5_000_000
    assert box.run("print('unread')", b"x" * 5_000_000).output == b"unread\n"


def test_a_function_gets_json_values_and_gives_one(box: Sandbox) -> None:
    program = "class Solution:\n def f(self, a, b):\n  print('noise')\n  return (a, [b], {'x': None}, 0.1 + a)"
    with box.open(program, entry="f") as session:
        assert session.run(b'1\n{"y": [2]}').output == b'[1, [{"y": [2]}], {"x": null}, 1.1]'
        assert session.run(b"1").status == "runtime_error"
    with box.open("def f(): return {1}", entry="f") as session:
        assert session.run(b"").status == "runtime_error"


def test_threads_are_waited_for_and_may_have_large_stacks(box: Sandbox) -> None:
    program = (
        "import sys, threading, time\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 27)\n"
        "def f(n): return 0 if n == 0 else 1 + f(n - 1)\n"
        "def main(): time.sleep(.01); print(f(50_000))\n"
        "threading.Thread(target=main).start()"
    )
    assert box.run(program).output == b"50000\n"


def test_every_input_meets_a_fresh_process_and_an_empty_folder(box: Sandbox) -> None:
    program = "import os, tempfile\nprint(os.listdir(), os.path.exists(tempfile.mkdtemp()))\nopen('f', 'w').write('x')"
    with box.open(program) as session:
        assert [session.run(b"").output for _ in range(3)] == [b"[] True\n"] * 3


def test_two_runs_are_alike(box: Sandbox) -> None:
    program = "print(hash('x'), {'a', 'b', 'c', 'd'}, random.random())"
    outputs = set()
    for _ in range(2):
        with box.open(program, prelude="import random") as session:
            outputs |= {session.run(b"").output, session.run(b"").output}
    assert len(outputs) == 1


def test_numpy_is_there_when_it_is_installed(box: Sandbox) -> None:
    pytest.importorskip("numpy")
    assert box.run("import numpy\nprint(numpy.arange(4).reshape(2, 2) @ numpy.eye(2))").output.startswith(b"[[0. 1.]")


def test_an_error_is_told_in_its_last_line(box: Sandbox) -> None:
    assert box.run("print(1)\nraise ValueError('because')").detail == "ValueError: because"
    assert box.run("this is no Python").detail == "SyntaxError: invalid syntax"
    assert box.run("print('\ud800')").status == "ok"  # a lone surrogate is replaced: no text of a model stops us
    assert box.run("\0").status == "runtime_error"


def test_a_sandbox_that_is_killed_is_started_again(box: Sandbox) -> None:
    with box.open("print(input())") as session:
        assert session.run(b"1").output == b"1\n"
        assert session._process
        os.killpg(session._process.pid, signal.SIGKILL)
        assert session.run(b"2").output == b"2\n"


def test_a_sandbox_that_its_program_kills_is_the_programs_fault(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with box.open("print(1)") as session:
        session.run(b"")
        monkeypatch.setattr(session, "_ask", lambda stdin: None)
        assert (session.run(b"").status, session.run(b"").detail) == ("runtime_error", "it broke its sandbox")


def test_a_sandbox_that_does_not_start_is_our_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    say = [sys.executable, "-c", "import sys; sys.exit('no namespaces')"]
    monkeypatch.setattr(backend, "command", lambda back_end: say)
    with pytest.raises(SandboxError, match="no namespaces"):
        Sandbox("landlock").run("print(1)")


def test_a_killed_parent_leaves_no_process_and_no_folder(back_end: BackEnd, tmp_path: Path) -> None:
    script = (
        "import os, signal, threading, time\nfrom permix.sandbox import Sandbox\n"
        f"session = Sandbox({back_end!r}).open('import time\\nprint(1)\\nif input(): time.sleep(60)')\n"
        "session.run(b'\\n')\nprint(session._process.pid, flush=True)\n"
        "threading.Timer(.2, os.kill, (os.getpid(), signal.SIGKILL)).start()\nsession.run(b'x\\n')"
    )
    environment = {**os.environ, "PYTHONPATH": SOURCE, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    pid = done.stdout.split()[0]
    for _ in range(200):
        stat = Path(f"/proc/{pid}/stat")
        gone = not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"
        if gone and not list(tmp_path.iterdir()):
            break
        time.sleep(0.02)
    assert gone
    assert not list(tmp_path.iterdir())


def test_without_bubblewrap_landlock_is_used_or_nothing_runs(monkeypatch: pytest.MonkeyPatch, undecided: None) -> None:
    monkeypatch.setattr(backend, "lacks", lambda name: f"no {name} here")
    with pytest.raises(
        PermixError, match=r"No sandbox works here \(bubblewrap: no bubblewrap here; landlock: .*--i-acc"
    ):
        choose()
    monkeypatch.setenv(proof.ACCEPT_UNSAFE, "1")
    assert choose() == "unsafe"
    assert Sandbox().run("print(1)").back_end == "unsafe"


def test_a_back_end_that_lets_something_through_is_not_taken(monkeypatch: pytest.MonkeyPatch, undecided: None) -> None:
    monkeypatch.setattr(proof, "SAFE", ("unsafe",))
    with pytest.raises(PermixError, match=r"unsafe does not stop read our files, .*write outside, TCP, UDP"):
        choose()


def test_a_sandbox_that_stops_harmless_programs_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "_PROGRAM", "{names}\nraise SystemExit('broken')")
    with pytest.raises(SandboxError, match="does not run a harmless program"):
        prove.__wrapped__("unsafe")


def test_an_ordinary_user_is_protected_alike(back_end: BackEnd) -> None:
    nobody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
    python = sys.executable if os.getuid() else shutil.which("python3", path="/usr/bin")
    try:
        if not python or (os.getuid() == 0 and not _others_can_read(Path(SOURCE))):
            pytest.skip("an ordinary user cannot read this checkout or finds no /usr/bin/python3")
        done = subprocess.run(
            [python, "-B", "-c", f"from permix.sandbox import prove; print(set(prove({back_end!r}).values()))"],
            env={"PYTHONPATH": SOURCE, "PATH": os.environ["PATH"]},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            **({} if os.getuid() else nobody),
        )
    except PermissionError as error:
        pytest.skip(f"this machine lets nobody be another user: {error}")
    assert done.stdout == "{True}\n", done.stderr


def _others_can_read(folder: Path) -> bool:
    return all(path.stat().st_mode & 0o005 == 0o005 for path in (folder, *folder.parents))


def test_the_filter_is_whole_on_both_machines_and_absent_elsewhere() -> None:
    for machine in ("x86_64", "aarch64"):
        code = seccomp.program(machine)
        assert code
        assert len(code) % 8 == 0
        assert len(code) // 8 < 4096
        assert code.count(seccomp.OWN_PID) == 1
    assert seccomp.program("riscv64") is None


def test_the_command_names_the_back_end(tmp_path: Path) -> None:
    output = command_line(tmp_path, "sandbox").stdout
    assert "GOT THROUGH" not in output
    assert output.splitlines()[-1].startswith("programs run in: ")
    assert all(name in output.splitlines() for name in SAFE)


def test_the_user_may_accept_to_run_without_protection(
    monkeypatch: pytest.MonkeyPatch, undecided: None, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backend, "lacks", lambda name: "not here")
    monkeypatch.setenv(proof.ACCEPT_UNSAFE, "0")
    with pytest.raises(PermixError, match="No sandbox works here"):
        app(["sandbox"], standalone_mode=False)
    app(["--i-accept-unsafe", "sandbox"], standalone_mode=False)
    assert capsys.readouterr().out.endswith("programs run in: unsafe\n")


def test_programs_run_under_the_given_limits(back_end: BackEnd) -> None:
    small = Sandbox(back_end, Limits(memory=128 << 20, threads=4, files=3, output=10, wall=20.0))
    assert small.run("bytearray(200 << 20)").status == "memory_limit"
    assert small.run("print('x' * 100)").detail == "it wrote too much output"
    assert small.run("for n in range(9): open(str(n), 'w').close()\nwhile True: pass").detail.endswith("large files")
