"""Programs that attack: none gets out, none passes, the host is as before, and the next program is right."""

import os
import socket
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import permix
from permix.sandbox import Limits, Sandbox
from permix.sandbox.backend import BackEnd
from permix.verifier.code import Case, Suite, judge, run

EXPECTED = "8675309"
LIMITS = Limits(seconds=0.5, wall=3.0, memory=128 << 20, output=1 << 20, threads=16, files=100, disk=4 << 20)

ATTACKS: dict[str, str] = tomllib.loads(Path(__file__).with_name("attacks.toml").read_text(encoding="utf-8"))

OUT_OF_TIME = (
    "infinite loop", "deaf infinite loop", "sleep", "silent but alive", "infinite talk", "huge integer",
    "regular expression",
)  # fmt: skip
ENDS = {name: {"time_limit"} for name in OUT_OF_TIME} | {
    "memory bomb": {"memory_limit"},
    "deep recursion": {"memory_limit", "time_limit"},
}
"""How they end, where it is not by a wrong answer or a runtime error."""


@dataclass
class Host:
    """What the attacks are after."""

    folder: Path
    names: dict[str, object]
    tcp: socket.socket
    unix: list[socket.socket] = field(default_factory=list)

    def as_before(self) -> None:
        """Nothing was written, read from, connected to or left behind."""
        assert (self.folder / "file").read_text() == f"{self.names['SECRET']} in a file"
        assert sorted(path.name for path in self.folder.iterdir()) == ["file", "socket", "temporary"]
        assert list((self.folder / "temporary").iterdir()) == []
        for server in (self.tcp, *self.unix):
            with pytest.raises(BlockingIOError):
                server.accept()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    secret = f"permix-secret-{os.getpid()}"
    (tmp_path / "file").write_text(f"{secret} in a file")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("HF_TOKEN", secret)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    tcp = socket.create_server(("127.0.0.1", 0))
    path, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    path.bind("socket")
    abstract.bind(f"\0{secret}")
    for server in (path, abstract, tcp):
        server.listen()
        server.setblocking(False)
    names = {
        "SECRET": secret, "FILE": str(tmp_path / "file"), "FOLDER": str(tmp_path), "HOME": str(Path.home()),
        "PYTHON": sys.base_prefix, "PORT": tcp.getsockname()[1], "ABSTRACT": f"\0{secret}", "PID": os.getpid(),
        "MODULES": [str(Path(module).parents[1]) for module in (permix.__file__, pytest.__file__)],
    }  # fmt: skip
    yield Host(tmp_path, names, tcp, [path, abstract])
    for server in (path, abstract, tcp):
        server.close()


def descendants() -> set[int]:
    """Processes below this one."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return family - {os.getpid()}


def suite(*expected: str) -> Suite:
    return Suite(tuple(Case("1\n", text) for text in expected))


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gets_nowhere_and_the_next_program_is_right(back_end: BackEnd, host: Host, name: str) -> None:
    before = descendants()
    assignments = "\n".join(f"{key} = {value!r}" for key, value in host.names.items())
    program = f"def out(x): print('ESCAPED', x, flush=True)\n{assignments}\n{ATTACKS[name]}\n"
    sandbox = Sandbox(back_end, LIMITS)
    with sandbox.open(program) as session:
        result = session.run(b"1\n")
    assert b"ESCAPED" not in result.output, result
    assert judge(result, EXPECTED).status in ENDS.get(name, {"wrong", "runtime_error"}), result
    with sandbox.open(
        "import os\nassert os.listdir() == []\nopen('f', 'w').write('x')\nprint(int(input()) + 6)"
    ) as good:
        assert [ran.status for ran in run(good, suite("7", "7"))] == ["correct", "correct"]
    for _ in range(100):  # what the kernel is killing needs a moment
        if descendants() <= before:
            break
        time.sleep(0.02)
    assert descendants() <= before
    host.as_before()


def test_a_program_does_not_see_its_neighbour(back_end: BackEnd) -> None:
    sandbox = Sandbox(back_end)
    leave = "import os\nopen('here', 'w').write('x')\nprint(os.getcwd(), os.getppid())"
    look = (
        "import os\nfolder, pid = input().split()\nfound = []\n"
        "for path in (folder + '/here', f'/proc/{pid}/environ', f'/proc/{pid}/maps'):\n"
        " try: found.append(open(path).read())\n"
        " except OSError: pass\n"
        "try: os.kill(int(pid), 0); found.append(pid)\n"
        "except OSError: pass\n"
        "print(found if pid != str(os.getppid()) else [])"
    )
    with sandbox.open(leave) as first, sandbox.open(look) as second:
        where = first.run(b"").output
        assert second.run(where).output == b"[]\n"
