"""The Python process of each back end: its command, and the files that it can see."""

import functools
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from permix.sandbox import seccomp

BackEnd = Literal["bubblewrap", "landlock", "unsafe"]
SAFE: tuple[BackEnd, ...] = ("bubblewrap", "landlock")
PACKAGES = ("numpy",)  # installed packages that programs may import besides the standard library
ENVIRONMENT = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": "/tmp"}  # noqa: S108

_LIBRARY = Path(os.__file__).resolve().parent  # of Python itself
_PYTHON = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
_INSIDE_PACKAGES = "/packages"  # their folder inside bubblewrap
# Not -I: the hash seed comes from the environment, which is ours alone.
_FLAGS = ("-P", "-s", "-S", "-B", "-X", "utf8")
_START = (
    "import os, marshal\n"
    "def read(size):\n"
    "    content = b''\n"
    "    while len(content) < size:\n"
    "        content += os.read(0, size - len(content))\n"
    "    return content\n"
    "exec(marshal.loads(read(int.from_bytes(read(4)))), {'__name__': 'inside'})\n"
)


def lacks(back_end: BackEnd) -> str:
    """Return what this machine lacks for the back end, or ""."""
    if not sys.platform.startswith("linux"):
        return "it needs Linux"
    if back_end != "unsafe" and seccomp.program() is None:
        return f"there is no table of system calls for {os.uname().machine}"
    if back_end == "bubblewrap" and not shutil.which("bwrap"):
        return "bwrap is not installed (apt-get install bubblewrap)"
    return ""


def command(back_end: BackEnd) -> list[str]:
    """Return the command of a Python that reads `permix.sandbox.inside` from its standard input."""
    python = [str(_PYTHON), *_FLAGS, "-c", _START]
    return [*_bubblewrap(), *python] if back_end == "bubblewrap" else python


def settings(back_end: BackEnd, folder: str) -> dict[str, Any]:
    """Return the settings for `permix.sandbox.inside`; `folder` is the program's own."""
    mounted = _INSIDE_PACKAGES if back_end == "bubblewrap" else ""
    packages = {path.name: f"{mounted or path.parent}/{path.name}" for path in _packages() if path.name in PACKAGES}
    return {
        "folder": folder,
        "packages": packages,
        "filter": b"" if back_end == "unsafe" else seccomp.program(),
        "own_pid": seccomp.OWN_PID,
        "readable": list(_readable()) if back_end == "landlock" else [],
    }


@functools.cache
def _bubblewrap() -> tuple[str, ...]:
    """Return the command of bubblewrap: new namespaces, /usr and Python's library read-only, an empty /tmp to write.

    Our process is number 1: bubblewrap's own would hold our pipes, and a program could open them in /proc/1/fd.
    """
    bwrap = shutil.which("bwrap") or "bwrap"
    words = [bwrap, "--unshare-all", "--as-pid-1", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    words += ["--clearenv"]
    for key, value in ENVIRONMENT.items():
        words += ["--setenv", key, value]
    words += ["--ro-bind", "/usr", "/usr"]
    for name in ("/lib", "/lib64", "/bin"):
        path = Path(name)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            words += ["--ro-bind", name, name]
    if not _PYTHON.is_relative_to("/usr"):
        for path in (_PYTHON, _LIBRARY, *_libraries(_LIBRARY.parent)):
            words += ["--ro-bind", str(path), str(path)]
    if not _PYTHON.is_relative_to("/usr/local") and Path("/usr/local").is_dir():
        words += ["--tmpfs", "/usr/local"]
    for path in _hidden():
        words += ["--tmpfs", str(path)]
    for path in _packages():
        words += ["--ro-bind", str(path), f"{_INSIDE_PACKAGES}/{path.name}"]
    return (*words, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp")  # noqa: S108


def _hidden() -> Iterator[Path]:
    """Yield the folders of installed packages, ours among them, that lie in visible folders."""
    for folder in {_LIBRARY, _LIBRARY.parent / "python3"}:
        for name in ("site-packages", "dist-packages"):
            if (folder / name).is_dir():
                yield folder / name


@functools.cache
def _readable() -> tuple[str, ...]:
    """Return Landlock's readable paths: the standard library, shared libraries, and the packages to import."""
    hidden = set(_hidden())
    paths = [path for path in sorted(_LIBRARY.iterdir()) if path not in hidden]
    multiarch = str(getattr(sys.implementation, "_multiarch", ""))
    for folder in ("/lib64", "/usr/lib64", f"/usr/lib/{multiarch}", str(_LIBRARY.parent)):
        resolved = Path(folder).resolve()
        if _LIBRARY.is_relative_to(resolved):
            paths += _libraries(resolved)
        elif resolved.is_dir():
            paths.append(resolved)
    return tuple(map(str, [*paths, *_packages(), "/usr/share/zoneinfo", "/dev/zero", "/dev/urandom"]))


def _libraries(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("lib*.so*")) if path.is_file()]


@functools.cache
def _packages() -> tuple[Path, ...]:
    """Return the folders of PACKAGES and of the shared libraries beside them."""
    folders: list[Path] = []
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        for folder in map(Path, (spec.submodule_search_locations or ()) if spec else ()):
            folders += [path for path in (folder, folder.with_name(f"{name}.libs")) if path.is_dir()]
    return tuple(folders)
