"""The command line, in a process of its own or in this one."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


def environment_of(home: Path, dropped: tuple[str, ...] = ("HF_", "PERMIX_"), **more: str) -> dict[str, str]:
    """This environment without its Hub and its settings of permix, with `home` as PERMIX_HOME."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return plain | {"PERMIX_HOME": str(home)} | more


def permix(home: Path, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, in an empty folder, with `home` as PERMIX_HOME."""
    home.mkdir(parents=True, exist_ok=True)
    completed = subprocess.run(
        [sys.executable, "-m", "permix", *arguments], env=environment_of(home, **environment), cwd=home,
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    return _checked(completed) if check else completed


def permix_here(
    home: Path, *arguments: str, check: bool = True, folder: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process, with workers that begin with the model libraries loaded."""
    from permix import processes
    from permix.__main__ import main
    from permix.publishing import hub
    from tests.support import warm
    from tests.support.hubs import hub_of

    home.mkdir(parents=True, exist_ok=True)
    code: int | str | None = 0
    with (
        mock.patch.dict(os.environ, environment_of(home, ("PERMIX_",), **environment), clear=True),
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(io.StringIO()) as out,
        redirect_stderr(io.StringIO()) as err,
    ):
        patch.setattr(hub, "connect", lambda url=None: hub_of(home))  # the clients of this process stay as they are
        patch.setattr(processes, "start", warm.start)
        patch.setattr(sys, "argv", ["permix", *arguments])
        patch.chdir(folder or home)
        try:
            main()
        except SystemExit as end:
            code = end.code
    completed = subprocess.CompletedProcess(arguments, int(code or 0), out.getvalue(), err.getvalue())
    return _checked(completed) if check else completed


def _checked(completed: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """`completed`, which must have ended well."""
    output = f"{completed.args} ended with {completed.returncode}\n{completed.stdout}\n{completed.stderr}"
    assert completed.returncode == 0, output
    return completed


def refused(home: Path, *arguments: str, code: int = 2, run: Run = permix, **environment: str) -> str:
    """Run a command that must end with this exit code and one last sentence, before anything is made; its stderr."""
    completed = run(home, *arguments, check=False, **environment)
    assert (completed.returncode, "making" in completed.stderr) == (code, False), completed.stderr
    assert completed.stderr.splitlines()[-1].startswith("permix: ")
    return completed.stderr
