"""Run one training in several processes (ranks) under `accelerate launch`, for `permix run --processes N`.

The worker pickles its assignment and starts the launcher, which starts the ranks. Each rank runs the whole stage and
writes its latest message into a file; rank 0 writes the artifact. The launcher ends its ranks when the worker dies,
and a rank ends itself when the launcher dies.
"""

import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from permix import files, run_record
from permix import processes as children
from permix.errors import BadInput
from permix.pipeline import assignment
from permix.pipeline.assignment import Assignment, Message, Samplers
from permix.pipeline.plan import Step, open_steps
from permix.training import distributed
from permix.training.settings import TrainerConfig

ASSIGNMENT = "assignment.pickle"
POLL = 0.2  # seconds


def check(steps: Sequence[Step], processes: int, *, here: bool = True) -> None:
    """Raise BadInput unless the open trainings can be shared and, if they run `here`, have the GPUs they need."""
    configs = [step.config for step in open_steps(steps) if isinstance(step.config, TrainerConfig)]
    for config in configs:
        config.accumulation(processes)
    if not here:
        return
    gpus = len(run_record.hardware()["gpu"])
    if processes > 1 and 0 < gpus < processes:
        available = "1 GPU" if gpus == 1 else f"{gpus} GPUs"
        raise BadInput(f"--processes is {processes} and this machine has {available}: use at most {gpus}.")
    for config in configs:
        config.check_gpu(gpus)
        if processes > 1:
            distributed.check(config, gpus)


def run(training: Assignment, send: Callable[[Message], None]) -> Message:
    """Run the training in its ranks; return rank 0's last message, or the failure of the rank that failed first."""
    folder = training.work / "ranks"
    shutil.rmtree(folder, ignore_errors=True)
    files.write_bytes(folder / ASSIGNMENT, pickle.dumps(replace(training, keys={})))
    # The launcher inherits the runner's lock, so that a new run waits until the ranks of a killed one are gone.
    command = children.command(launch, str(folder), os.getpid())
    launcher = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False)
    sent: Message | None = None
    while (code := _wait(launcher)) is None:
        message = _read(folder / "rank-0.pickle")
        if message and message.kind == "progress" and message != sent:
            sent = message
            send(message)
    paths = sorted(folder.glob("rank-*.pickle"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    failures = [message for path in paths if (message := _read(path)) and message.kind == "failed"]
    last = _read(folder / "rank-0.pickle")
    if failures:
        return failures[0]
    if code == 0 and last and last.kind == "done":
        return last
    ended = f"One of the {training.processes} processes that made {training.target} ended (out of memory?)"
    return Message("failed", training.target, (f"{ended}: run again to continue.", 1))


def launch(folder: str, worker: int) -> None:
    """Start the ranks by `accelerate launch`, without the user's own accelerate settings."""
    end = partial(os.kill, os.getpid(), signal.SIGTERM)  # accelerate then ends its ranks and itself
    children.end_with_parent(worker, end)
    training = _assignment(folder)
    if sys.platform == "linux":  # the ranks are on one machine, whose name need not resolve
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    assert isinstance(training.config, TrainerConfig)
    files.write_json(Path(folder) / "accelerate.json", distributed.launch_settings(training.config, training.processes))
    from accelerate.commands.launch import launch_command, launch_command_parser

    options = ["--config_file", f"{folder}/accelerate.json"]
    options += ["--num_cpu_threads_per_process", str(training.threads), "--main_process_port", "0"]
    options += ["--log_dir", f"{folder}/logs", "--no_python"]
    launch_command(launch_command_parser().parse_args([*options, *children.command(rank, folder, os.getpid())]))


def rank(folder: str, launcher: int) -> None:
    """Run the whole stage as one rank; every rank but the first writes into a folder that is not published."""
    children.end_with_parent(launcher)
    training, number = _assignment(folder), int(os.environ["RANK"])
    path = Path(folder) / f"rank-{number}.pickle"
    if number:
        training = replace(training, out=Path(folder) / f"out-{number}")
        training.out.mkdir()

    def send(message: Message) -> None:
        files.write_bytes(path, pickle.dumps(message))

    outcome = assignment.run(training, send, Samplers())
    send(outcome)
    if outcome.kind == "failed":
        os._exit(1)  # without waiting for the other ranks, which wait for this one
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _wait(launcher: "subprocess.Popen[bytes]") -> int | None:
    try:
        return launcher.wait(POLL)
    except subprocess.TimeoutExpired:
        return None


def _assignment(folder: str) -> Assignment:
    training: Assignment = pickle.loads((Path(folder) / ASSIGNMENT).read_bytes())  # noqa: S301 - the worker's own file
    return training


def _read(path: Path) -> Message | None:
    """Return the latest message of a rank, None before its first."""
    try:
        message: Message = pickle.loads(path.read_bytes())  # noqa: S301 - a rank's own file
    except FileNotFoundError:
        return None
    return message
