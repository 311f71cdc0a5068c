"""The process inside the sandbox: receives a program and runs it on every input, each time in a forked child.

It is sent into the sandbox as compiled code and imports the standard library alone. The parent trusts nothing from this
process except a program's output. A program that takes it over gains nothing: expected outputs are never sent here.

Frames (4 bytes of length, then content). In: settings, program, then inputs. Out: READY, then one reply for each input.
"""
# Every run pays for the imports: no pathlib, contextlib, signal or typing (10 ms). Everything loaded and executed comes
# from the parent.
# ruff: noqa: PTH101, PTH104, PTH106, PTH108, PTH118, PTH123, S102, S110, S302

from __future__ import annotations

import atexit
import ctypes
import errno
import gc
import marshal
import os
import resource
import select
import stat
import struct
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

READY = b"ready"
STATUSES = ("ok", "runtime_error", "time_limit", "memory_limit", "sandbox_error")
REPLY = struct.Struct("!BdI")  # status, seconds of processor time, bytes of detail; then the detail, then the output
TICK = 0.05  # seconds between looks at a running program
_FRAME = struct.Struct("!I")
_NO_MEMORY = 251  # exit code of a child that ran out of memory
_RESULT = 3  # the descriptor for a function's result


def read_frame(source: int) -> bytes | None:
    """Read one frame; None at the end."""
    header = _read(source, _FRAME.size)
    return None if header is None else _read(source, _FRAME.unpack(header)[0])


def write_frame(target: int, content: bytes) -> None:
    """Write one frame."""
    _write(target, _FRAME.pack(len(content)) + content)


def _read(source: int, size: int) -> bytes | None:
    parts = []
    while size:
        part = os.read(source, min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _write(target: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(target, left) :]


def main() -> None:
    """Serve until the parent closes the pipe."""
    source, target = os.dup(0), os.dup(1)
    settings = marshal.loads(read_frame(source) or b"")
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(null, standard)
    os.chdir(settings["folder"])
    sys.meta_path.append(_Packages(settings["packages"]))
    ruleset = _give_up_privileges(settings)
    names: dict[str, Any] = {}
    exec(settings["prelude"], names)
    gc.freeze()  # the children share these objects
    write_frame(target, READY)
    os.dup2(null, 2)
    try:
        code, entry = marshal.loads(read_frame(source) or b"")
        while (stdin := read_frame(source)) is not None:
            status, detail, seconds, output = _run(code, entry, stdin, settings, names, ruleset, source)
            write_frame(target, REPLY.pack(STATUSES.index(status), seconds, len(detail)) + detail + output)
            empty(settings["folder"])
    finally:  # the parent ended and does not clean up
        try:
            empty(settings["folder"])
            os.rmdir(settings["folder"])
        except OSError:
            pass


class _Packages:
    """Finds the installed packages that programs may import, without the folder of all packages."""

    def __init__(self, folders: dict[str, str]) -> None:
        self.folders = folders

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return the spec of such a package, or None."""
        if name not in self.folders:
            return None
        from importlib.util import spec_from_file_location

        folder = self.folders[name]
        return spec_from_file_location(name, f"{folder}/__init__.py", submodule_search_locations=[folder])


def _give_up_privileges(settings: dict[str, Any]) -> int | None:
    """Drop every privilege for good; return the children's Landlock ruleset, None without one."""
    try:
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")  # out of memory, the kernel ends the program, not our training
    except OSError:
        pass
    if not settings["filter"]:
        return None
    c = ctypes.CDLL(None, use_errno=True)
    for capability in range(64):
        c.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; fails for capabilities that do not exist
    _check(c.capset(struct.pack("<Ii", 0x20080522, 0), bytes(24)), "capset")
    _check(c.prctl(38, 1, 0, 0, 0), "no_new_privs")
    _check(c.prctl(4, 0, 0, 0, 0), "dumpable")
    return _ruleset(c, settings) if settings["readable"] else None


# https://docs.kernel.org/userspace-api/landlock.html; these system calls have the same numbers on all machines.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_WRITE_FILE, _READ_FILE, _READ_FOLDER, _TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
_READ = _READ_FILE | _READ_FOLDER
_CHANGE = _WRITE_FILE | _TRUNCATE | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 13  # remove, make, link, move
_OF_A_FILE = _WRITE_FILE | _READ_FILE | _TRUNCATE


def _ruleset(c: ctypes.CDLL, settings: dict[str, Any]) -> int:
    abi = c.syscall(_CREATE_RULESET, None, 0, 1)
    _check(abi, "landlock")
    handled = (1 << (16 if abi >= 5 else 15 if abi >= 3 else 14 if abi == 2 else 13)) - 1
    network, scoped = (3 if abi >= 4 else 0), (3 if abi >= 6 else 0)
    attributes = struct.pack("<QQQ", handled, network, scoped)[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    ruleset: int = c.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    _check(ruleset, "landlock_create_ruleset")
    allowed = [(path, _READ) for path in settings["readable"]]
    for path, access in [*allowed, (settings["folder"], _READ | _CHANGE), (os.devnull, _READ_FILE | _WRITE_FILE)]:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        if access := access & handled & (-1 if is_folder else _OF_A_FILE):
            _check(c.syscall(_ADD_RULE, ruleset, 1, struct.pack("<Qi", access, descriptor), 0), "landlock_add_rule")
        os.close(descriptor)
    return ruleset


def _check(result: int, call: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


_SIGKILL, _SIGXCPU = 9, 24
Outcome = tuple[str, bytes, float, bytes]  # status, detail, seconds of processor time, output


def _run(
    code: str, entry: str, stdin: bytes, settings: dict[str, Any], names: dict[str, Any], ruleset: int | None, hup: int
) -> Outcome:
    parent = os.getpid()
    try:
        pipes = [os.pipe() for _ in range(4)]
        child = os.fork()
    except OSError as error:
        return "sandbox_error", str(error).encode(), 0.0, b""
    (in_read, in_write), (out_read, out_write), (err_read, err_write), (failed_read, failed_write) = pipes
    if not child:
        exit_code = 1
        try:
            try:
                _become_program((in_read, out_write, err_write), settings, ruleset, parent, bool(entry))
                os.closerange(_RESULT + bool(entry), 256)
            except BaseException as error:  # the program has not run yet: this failure is ours
                _write(failed_write, repr(error).encode())
                raise
            exit_code = _program(code, entry, stdin, names)
        finally:
            os._exit(exit_code)
    for descriptor in (in_read, out_write, err_write, failed_write):
        os.close(descriptor)
    outcome = _watch(child, b"" if entry else stdin, (in_write, out_read, err_read), settings, hup)
    failed = os.read(failed_read, 1000)
    for descriptor in (in_write, out_read, err_read, failed_read):
        os.close(descriptor)
    return ("sandbox_error", failed, 0.0, b"") if failed else outcome


def _watch(child: int, stdin: bytes, pipes: tuple[int, int, int], settings: dict[str, Any], hup: int) -> Outcome:
    """Feed the child, collect its output, and stop it at a limit."""
    into, out, err = pipes
    deadline = time.monotonic() + settings["wall"]
    next_look = time.monotonic() + TICK
    left, output, errors, size = memoryview(stdin), [], b"", 0
    poll = select.poll()
    for descriptor, events in ((into, select.POLLOUT), (out, select.POLLIN), (err, select.POLLIN)):
        os.set_blocking(descriptor, False)
        poll.register(descriptor, events)
    poll.register(hup, 0)  # reports the end of the parent
    open_outputs = {out, err}
    stopped: tuple[str, bytes] | None = None
    code = None
    while code is None:
        for descriptor, event in poll.poll(TICK * 1000 if open_outputs else 1):
            if descriptor == hup:
                if event & select.POLLHUP:
                    os.kill(child, _SIGKILL)
                    sys.exit(1)
            elif descriptor == into:
                try:
                    left = left[os.write(into, left[:65536]) :]
                except BlockingIOError:
                    continue
                except OSError:  # it has closed its input
                    left = left[:0]
                if not left:
                    poll.unregister(into)
                    os.dup2(hup, into)  # closes it: the end of the input
            elif not (part := os.read(descriptor, 1 << 16)):
                poll.unregister(descriptor)
                open_outputs.discard(descriptor)
            elif descriptor == err:
                errors = (errors + part)[-2000:]
            else:
                output.append(part)
                size += len(part)
        now = time.monotonic()
        if size > settings["output"]:
            stopped = "runtime_error", b"it wrote too much output"
        elif now > deadline:
            stopped = "time_limit", b"it waited too long"
        elif now > next_look:
            next_look, stopped = now + TICK, _beyond(child, settings)
        if stopped:
            os.kill(child, _SIGKILL)
        if stopped or not open_outputs:  # it has ended, or has closed both and still runs
            ended, status, used = os.wait4(child, 0 if stopped else os.WNOHANG)
            code = status if ended else None
    seconds = used.ru_utime + used.ru_stime
    return *(stopped or _verdict(code, seconds, errors, settings)), seconds, b"".join(output)[: settings["output"]]


def _beyond(child: int, settings: dict[str, Any]) -> tuple[str, bytes] | None:
    fields = _stat(child)
    if fields:
        if (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") > settings["seconds"]:
            return "time_limit", b"it computed too long"
        if int(fields[17]) > settings["threads"]:
            return "runtime_error", b"it started too many threads"
    if crowded(settings["folder"], settings["files"], settings["disk"]):
        return "runtime_error", b"it made too many or too large files"
    return None


def _stat(child: int) -> list[bytes]:
    """Return the fields of /proc/<child>/stat after the name; none without that file."""
    try:
        with open(f"/proc/{child}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def _verdict(code: int, seconds: float, errors: bytes, settings: dict[str, Any]) -> tuple[str, bytes]:
    if os.WIFSIGNALED(code):
        number = os.WTERMSIG(code)
        if number in (_SIGKILL, _SIGXCPU) and seconds >= settings["seconds"]:
            return "time_limit", b"it computed too long"
        return "runtime_error", f"it ended by signal {number}".encode()
    if os.WEXITSTATUS(code) == _NO_MEMORY:
        return "memory_limit", b"it needed too much memory"
    if code:
        last_line = (errors.strip().splitlines() or [b""])[-1][-500:]
        return "runtime_error", last_line or f"it ended with code {os.WEXITSTATUS(code)}".encode()
    return "ok", b""


def _become_program(
    standard: tuple[int, int, int], settings: dict[str, Any], ruleset: int | None, parent: int, is_function: bool
) -> None:
    """In the child: set its standard streams and limits, irrevocably."""
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
    if is_function:  # its prints are dropped; its result has a descriptor of its own
        os.dup2(1, 100)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    seconds = max(1, -int(-settings["seconds"] // 1))
    for limit, value, slack in (
        (resource.RLIMIT_CPU, seconds, 1),
        (resource.RLIMIT_AS, settings["memory"], 0),
        (resource.RLIMIT_FSIZE, settings["disk"], 0),
        (resource.RLIMIT_NOFILE, 256, 0),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        hard = value + slack if hard == resource.RLIM_INFINITY else min(hard, value + slack)
        resource.setrlimit(limit, (min(value, hard), hard))
    if settings["filter"]:
        c = ctypes.CDLL(None, use_errno=True)
        _check(c.prctl(1, _SIGKILL, 0, 0, 0), "pdeathsig")
        if os.getppid() != parent:
            os._exit(1)
        if ruleset is not None:
            _check(c.syscall(_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
        code = settings["filter"].replace(settings["own_pid"], struct.pack("<I", os.getpid()))
        steps = ctypes.create_string_buffer(code, len(code))
        program = struct.pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(steps))
        _check(c.prctl(22, 2, program, 0, 0), "seccomp")
    if is_function:
        os.dup2(100, _RESULT)


def _program(code: str, entry: str, stdin: bytes, names: dict[str, Any]) -> int:
    """In the child: run the code as a program, or call the function that it defines; return the exit code."""
    flush, hook = sys.stdout.flush, sys.excepthook
    module: Any = type(sys)("solution" if entry else "__main__")
    module.__dict__.update(names, __name__=module.__name__)
    sys.modules[module.__name__] = module
    if "random" in sys.modules:  # it seeds itself anew in every child
        sys.modules["random"].seed(0)
    try:
        try:
            exec(compile(code, "<program>", "exec", dont_inherit=True), module.__dict__)
            if entry:
                _call(module, entry, stdin.decode("utf-8", "replace"))
        except SystemExit:
            pass  # only the output counts
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        atexit._run_exitfuncs()
        flush()
    except MemoryError:
        return _NO_MEMORY
    except BaseException:
        try:
            flush()
            hook(*sys.exc_info())
            sys.stderr.flush()
        except BaseException:
            pass  # it has broken the streams
        return 1
    return 0


def _call(module: Any, entry: str, values: str) -> None:
    """Call the method or function on one JSON value a line, and write its result as JSON."""
    import json

    owner = module.Solution() if hasattr(module, "Solution") else module
    result = getattr(owner, entry)(*(json.loads(line) for line in values.split("\n") if line.strip()))
    _write(_RESULT, json.dumps(result, default=lambda value: value.tolist()).encode())  # numpy's numbers and arrays


def crowded(folder: str, most: int, size: int) -> bool:
    """Return whether `folder` holds more than `most` files or `size` bytes."""
    folders, count = [folder], 0
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    count += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        size -= entry.stat(follow_symlinks=False).st_size
                    if count > most or size < 0:
                        return True
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.EACCES):
                return True
    return False


def empty(folder: str) -> None:
    """Delete the content of `folder` at any depth, without following links."""
    while True:
        with os.scandir(folder) as listing:
            entries = list(listing)
        if not entries:
            return
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)
            with os.scandir(entry.path) as inner:
                for number, deeper in enumerate(list(inner)):
                    if deeper.is_dir(follow_symlinks=False):  # moved up, because a path has at most 4096 characters
                        os.chmod(deeper.path, 0o700)
                        os.rename(deeper.path, os.path.join(folder, f"{time.monotonic_ns()}-{number}"))
                    else:
                        os.unlink(deeper.path)
            os.rmdir(entry.path)


if __name__ == "inside":
    main()
