"""Child processes that begin with the model libraries loaded, which would take each of them five seconds."""

import functools
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import Pipe, forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

import pytest

LIBRARIES = (
    "peft", "transformers.models.llama.modeling_llama", "trl.trainer.grpo_trainer", "trl.trainer.sft_trainer",
    "permix.pipeline.worker",
)  # fmt: skip
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false",
    "PYTHONPATH": str(Path(__file__).parents[2]),
}  # fmt: skip
"""What permix's runner sets for its workers, before any of them loads a library."""


@functools.cache
def _server() -> ForkServerContext:
    """The process that is copied: it loads the libraries and does nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        forkserver.ensure_running()
    return context


class Child:
    """A child that calls a function, as far as permix uses `subprocess.Popen`."""

    def __init__(self, function: Callable[..., None], *arguments: Any) -> None:
        self._process = _server().Process(target=function, args=arguments)
        self._process.start()
        self.kill = self._process.kill

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs; less the number of the signal that killed it."""
        return self._process.exitcode

    def wait(self) -> int | None:
        """Wait for its end."""
        self._process.join()
        return self._process.exitcode


def start(
    main: Callable[[int], None], environment: Mapping[str, str], out: int | IO[bytes], inherited: Sequence[int] = ()
) -> tuple[Child, Connection]:
    """Do what `permix.processes.start` does, with a child whose libraries are loaded."""
    own_end, child_end = Pipe()
    with child_end:
        output = DupFd(out if isinstance(out, int) else out.fileno())
        child = Child(_call, main, child_end, dict(environment), output, [DupFd(number) for number in inherited])
    return child, own_end


def _call(main: Callable[[int], None], pipe: Connection, environment: dict[str, str], output: Any, more: Any) -> None:
    for duplicate in more:
        duplicate.detach()
    descriptor = output.detach()
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.environ.clear()
    os.environ.update(environment)
    main(pipe.fileno())
