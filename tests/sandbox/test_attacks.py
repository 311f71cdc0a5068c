"""Programs that attack: none gets out, none passes, the host is as before, and the next program is right."""

import os
import socket
import sys
import time
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

ATTACKS = {
    "fork bomb": "import os\nwhile True: os.fork()",
    "fork without a bomb": "import os\nif os.fork() == 0: out('child')",
    "subprocess": "import subprocess\nout(subprocess.check_output(['/bin/sh', '-c', 'id']))",
    "exec": "import os\nos.execv('/bin/sh', ['sh', '-c', 'echo ESCAPED'])",
    "daemon": "import os\nif not os.fork():\n os.setsid()\n if not os.fork():\n  while True: pass",
    "thread bomb": "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()",
    # A loop of bytecode: one in C would never give the interpreter's lock back to the thread that ends the program.
    "daemon thread": (
        "import threading\ndef f():\n while True: pass\nthreading.Thread(target=f, daemon=True).start()"
    ),
    "memory bomb": "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "mapped memory": "import mmap\nm = mmap.mmap(-1, 4 << 30); out('4 GiB')",
    "higher limits": (
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2); out('no limit')"
    ),
    "infinite loop": "while True: pass",
    "deaf infinite loop": (
        "import signal\nfor n in range(1, 65):\n try: signal.signal(n, signal.SIG_IGN)\n"
        " except (OSError, ValueError): pass\nwhile True: pass"
    ),
    "sleep": "import time\ntime.sleep(1000)",
    "silent but alive": "import os\nos.close(1); os.close(2)\nwhile True: pass",
    "infinite output": "while True: print('x' * 10000)",
    "infinite talk": "import sys\nwhile True: sys.stderr.write('x' * 10000)",
    "environment": "import os\nif SECRET in str(os.environ): out(os.environ)",
    "every environment and memory in /proc": (
        "import os\nfor p in os.listdir('/proc'):\n"
        " for name in ('environ', 'cmdline', 'mem', 'maps', 'root/etc/passwd', 'cwd/file', 'fd/0'):\n"
        "  try: found = open(f'/proc/{p}/{name}', 'rb').read(10**5)\n"
        "  except OSError: continue\n"
        "  if SECRET.encode() in found: out(p)"
    ),
    "speak as the sandbox": (
        "import os\nfor p in (1, 2, os.getppid()):\n for name in ('fd/0', 'fd/1', 'fd/3', 'fd/4', 'mem'):\n"
        "  if p != os.getpid():\n   try: open(f'/proc/{p}/{name}', 'wb'); out(p)\n   except OSError: pass"
    ),
    "our files": "out(open(FILE).read())",
    "passwords": "out(open('/etc/shadow').read())",
    "home": "import os\nfor at, _, files in os.walk(HOME):\n if files and not at.startswith(PYTHON): out(files)",
    "our modules": "import sys\nsys.path += MODULES\nimport permix.verifier\nout(permix)",
    "write outside": "open(FOLDER + '/written', 'w').write('x'); out('written')",
    "overwrite": "open(FILE, 'w'); out('truncated')",
    "truncate while reading": "import os\nos.open(FILE, os.O_RDONLY | os.O_TRUNC); out('truncated')",
    "Python's own library": "import os\nopen(os.__file__, 'a').write('x'); out('written')",
    "link to our file": "import os\nos.symlink(FILE, 'link'); out(open('link').read())",
    "hard link": "import os\nos.link(FILE, 'link'); out(open('link').read())",
    "link to our folder left behind": "import os\nos.symlink(FOLDER, 'link')",
    "dots": "out(open('../' * 20 + FILE.lstrip('/')).read())",
    "TCP": "import socket\nsocket.create_connection(('127.0.0.1', PORT), 5); out('connected')",
    "TCP server": "import socket\nsocket.create_server(('127.0.0.1', 0)); out('listens')",
    "UDP": "import socket\nsocket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT)); out('sent')",
    "unix socket": "import socket\nsocket.socket(socket.AF_UNIX).connect(FOLDER + '/socket'); out('connected')",
    "abstract unix socket": "import socket\nsocket.socket(socket.AF_UNIX).connect(ABSTRACT); out('connected')",
    "netlink": "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); out('netlink')",
    "kill the parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL); out('killed')",
    "kill us": "import os, signal\nos.kill(PID, signal.SIGTERM); out('killed')",
    "kill all": "import os, signal\nos.kill(-1, signal.SIGKILL); out('killed')",
    "signal by ownership": (
        "import fcntl, os\nr, w = os.pipe(); fcntl.fcntl(r, fcntl.F_SETOWN, os.getppid()); out('owned')"
    ),
    "ptrace": "import ctypes, os\nif ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0: out('attached')",
    "memory of the parent": (
        "import ctypes, os\nclass V(ctypes.Structure): _fields_ = [('a', ctypes.c_void_p), ('n', ctypes.c_size_t)]\n"
        "b = ctypes.create_string_buffer(8); l = V(ctypes.addressof(b), 8); r = V(id(0), 8)\n"
        "got = ctypes.CDLL(None).process_vm_readv(os.getppid(), ctypes.byref(l), 1, ctypes.byref(r), 1, 0)\n"
        "if got > 0: out('read')"
    ),
    "namespaces, mounts, keys, bpf, io_uring": (
        "import ctypes\nc = ctypes.CDLL(None)\n"
        "for call in (c.unshare(0x10000000), c.chroot(b'.'), c.mount(b'x', b'.', b'tmpfs', 0, 0), c.setuid(0),\n"
        "  c.setns(0, 0), c.syscall(250, 0, -4, 0), c.syscall(321, 0, 0, 0),\n"
        "  c.syscall(425, 8, ctypes.create_string_buffer(200)), c.syscall(438, 0, 0, 0), c.syscall(0x40000000 + 39)):\n"
        " if call >= 0: out(call)"
    ),
    "exit at once": "import sys\nsys.exit(0)",
    "hard exit": "import os\nos._exit(0)",
    "exit in the middle": f"import sys\nprint('{EXPECTED[:3]}'); sys.exit()",
    "abort": "import os\nos.abort()",
    "crash": "import ctypes\nctypes.string_at(0)",
    "what a grader would print": (
        "import os\nsay = b'{\"status\": \"correct\", \"score\": 1}\\ncorrect\\nPASSED\\n[true]'\n"
        "for fd in range(256):\n"
        " for text in (say, bytes((0, 0, 0, 20, 0)) + bytes(13) + say):\n"
        "  try: os.write(fd, text)\n"
        "  except OSError: pass"
    ),
    "patched comparison": (
        "import builtins, decimal, json, sys\nclass Same(str):\n def __eq__(self, other): return True\n"
        "for module in list(sys.modules.values()):\n"
        " for name in ('loads', 'dumps', 'strip', '_same_text', '_verdict', 'compare'):\n"
        "  if hasattr(module, name): setattr(module, name, lambda *a, **k: Same())\n"
        "builtins.len = lambda x: 1\nprint(Same('x'))"
    ),
    "search for the expected output": (
        "import gc, sys\nseen, frame = [], sys._getframe()\n"
        "while frame: seen += [repr(frame.f_locals), repr(frame.f_globals)]; frame = frame.f_back\n"
        "for text in seen + [repr(x) for x in gc.get_objects() if type(x) in (str, bytes, list, dict, tuple)]:\n"
        " if str(int('8675308') + 1) in text: print(int('8675308') + 1); out('found')"
    ),
    "delete the own folder": "import os, shutil\nshutil.rmtree(os.getcwd(), ignore_errors=True); os.rmdir(os.getcwd())",
    "10,000 files": "for n in range(10**4): open(str(n), 'w').write('x')",
    "10,000 folders in each other": "import os\nfor n in range(10**4): os.mkdir('d'); os.chdir('d')",
    "closed folder": "import os\nos.mkdir('d'); open('d/f', 'w'); os.mkdir('e', 0)",
    "large file": "f = open('f', 'wb')\nwhile True: f.write(bytes(1 << 20))",
    "deep recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
    "deep recursion in C": (
        "import functools, sys\nsys.setrecursionlimit(10**9)\n@functools.cache\ndef f(n): f(n + 1)\nf(0)"
    ),
    "deep source": "eval('(' * 100000 + ')' * 100000)",
    "huge integer": "x = 9 ** 9 ** 9",
    "regular expression": "import re\nre.match('(a+)+$', 'a' * 40 + 'b')",
}  # fmt: skip

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
