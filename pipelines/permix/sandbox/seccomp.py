"""The system calls that a program in the sandbox may make, as a seccomp filter.

An allow-list: all other calls (sockets, ptrace, kill, new processes, exec, mount, io_uring, keys …) fail with EPERM.
A few calls are allowed with some arguments only. https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html
"""

import errno
import platform
import struct
import tomllib
from pathlib import Path

_MACHINES = tomllib.loads(Path(__file__).with_name("syscalls.toml").read_text(encoding="utf-8"))
OWN_PID = struct.pack("<I", 0x7FFFFFFE)  # placeholder in the filter for the process's own id, replaced after the fork

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_EQUAL, _AT_LEAST, _ANY_BIT = 0x15, 0x35, 0x45
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_NUMBER, _MACHINE = 0, 4  # offsets in struct seccomp_data; the low half of argument n is at 16 + 8 n
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS TIOCGWINSZ FIONREAD FIONBIO FIONCLEX FIOCLEX
# F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL F_GETLK F_SETLK F_SETLKW F_DUPFD_CLOEXEC F_GETPIPE_SZ; not F_SETOWN, which
# sends signals to others.
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1032)
_PRCTLS = (15, 16)  # PR_SET_NAME PR_GET_NAME
_CLONE_THREAD = 0x10000
_O_ACCMODE, _O_TRUNC = 0o3, 0o1000


def program(machine: str = platform.machine()) -> bytes | None:
    """Return the filter for a machine as an array of struct sock_filter, or None without a table of its calls."""
    if machine not in _MACHINES:
        return None
    calls = _MACHINES[machine]
    code = [
        _step(_LOAD, _MACHINE),
        _step(_EQUAL, calls["audit"], 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        *([_step(_AT_LEAST, 0x40000000, 0, 1), _fail(errno.ENOSYS)] if machine == "x86_64" else []),  # the x32 calls
    ]
    for number in _numbers(calls["allowed"]).values():
        code += [_step(_EQUAL, number, 0, 1), _step(_RETURN, _ALLOW)]
    for name, number in _numbers(calls["checked"]).items():
        block = _special(name)
        code += [_step(_EQUAL, number, 0, len(block)), *block]
    return b"".join([*code, _fail(errno.EPERM)])


def _special(name: str) -> list[bytes]:
    """Return the steps for a call with checked arguments; the last one returns."""
    if name in ("open", "openat"):  # to truncate a file that is opened for reading: Landlock before ABI 3 lets it pass
        load_flags = _step(_LOAD, 16 + 8 * (1 if name == "open" else 2))
        is_truncating = [_step(_AND, _O_ACCMODE | _O_TRUNC), _step(_EQUAL, _O_TRUNC, 0, 1)]
        return [load_flags, *is_truncating, _fail(errno.EPERM), _step(_RETURN, _ALLOW)]
    if name == "clone":  # a thread, not a process
        is_thread = _step(_ANY_BIT, _CLONE_THREAD, 0, 1)
        return [_step(_LOAD, 16), is_thread, _step(_RETURN, _ALLOW), _fail(errno.EPERM)]
    if name == "clone3":  # its flags are behind a pointer; glibc falls back to clone
        return [_fail(errno.ENOSYS)]
    argument, allowed, otherwise = {
        "ioctl": (1, _IOCTLS, errno.ENOTTY),
        "fcntl": (1, _FCNTLS, errno.EPERM),
        "prctl": (0, _PRCTLS, errno.EPERM),
        "prlimit64": (0, (0,), errno.EPERM),  # itself
        "tgkill": (0, (struct.unpack("<I", OWN_PID)[0],), errno.EPERM),  # abort() and raise()
    }[name]
    tests = [step for value in allowed for step in (_step(_EQUAL, value, 0, 1), _step(_RETURN, _ALLOW))]
    return [_step(_LOAD, 16 + 8 * argument), *tests, _fail(otherwise)]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _fail(number: int) -> bytes:
    return _step(_RETURN, 0x00050000 | number)


def _numbers(table: str) -> dict[str, int]:
    return {name: int(number) for name, number in (entry.split("=") for entry in table.split())}
