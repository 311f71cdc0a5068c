"""One training in several processes, ranks, under `accelerate launch`: what `permix run --processes N` does.

The worker freezes its job into a file and starts the launcher, which starts the ranks. Each rank runs the whole stage
and tells in a file how far it is and how it ended; what rank 0 made is the result. The launcher ends its ranks when
the worker dies, and a rank ends itself when the launcher does.
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
from permix.pipeline.plan import Step
from permix.training import distributed
from permix.training.settings import TrainerConfig

POLL = 0.2  # seconds


def check(steps: Sequence[Step], processes: int, *, here: bool = True) -> None:
    """Raise BadInput unless the trainings that are to be made can be shared and, `here`, have the GPUs they need."""
    configs = [step.config for step in steps if isinstance(step.config, TrainerConfig) and step.state != "current"]
    for config in configs:
        config.accumulation(processes)
    if not here:
        return
    gpus = len(run_record.hardware()["gpu"])
    if processes > 1 and 0 < gpus < processes:
        have = "1 GPU" if gpus == 1 else f"{gpus} GPUs"
        raise BadInput(f"--processes is {processes} and this machine has {have}: use at most {gpus}.")
    for config in configs:
        config.check_gpu(gpus)
        if processes > 1:
            distributed.check(config, gpus)


def run(job: Assignment, tell: Callable[[Message], None]) -> Message:
    """Make `job` in its ranks; return what rank 0 ended with, or the failure of the rank that failed first."""
    folder = job.work / "ranks"
    shutil.rmtree(folder, ignore_errors=True)
    files.write_bytes(folder / "job.pickle", pickle.dumps(replace(job, keys={})))
    # All that it inherits beyond its streams is the runner's lock: a new run waits until a killed one's ranks are gone.
    command = children.command(launch, str(folder), os.getpid())
    launcher = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False)
    shown: Message | None = None
    while (code := _wait(launcher)) is None:
        said = _read(folder / "rank-0.pickle")
        if said and said.kind == "progress" and said != shown:
            shown = said
            tell(said)
    written = sorted(folder.glob("rank-*.pickle"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    failures = [said for path in written if (said := _read(path)) and said.kind == "failed"]
    last = _read(folder / "rank-0.pickle")
    if failures:
        return failures[0]
    if code == 0 and last and last.kind == "done":
        return last
    ended = f"One of the {job.processes} processes that made {job.target} ended (out of memory?)"
    return Message("failed", job.target, (f"{ended}: run again to continue.", 1))


def launch(folder: str, worker: int) -> None:
    """The launcher: `accelerate launch` with nothing taken from the user's own accelerate settings."""
    end = partial(os.kill, os.getpid(), signal.SIGTERM)  # then it ends its ranks, and itself
    children.end_with_parent(worker, end)
    job: Assignment = _job(folder)
    if sys.platform == "linux":  # the ranks are on one machine, whose name need not resolve
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    assert isinstance(job.config, TrainerConfig)
    files.write_json(Path(folder) / "accelerate.json", distributed.launch_settings(job.config, job.processes))
    from accelerate.commands.launch import launch_command, launch_command_parser

    options = ["--config_file", f"{folder}/accelerate.json"]
    options += ["--num_cpu_threads_per_process", str(job.threads), "--main_process_port", "0"]
    options += ["--log_dir", f"{folder}/logs", "--no_python"]
    launch_command(launch_command_parser().parse_args([*options, *children.command(rank, folder, os.getpid())]))


def rank(folder: str, launcher: int) -> None:
    """One rank: the whole stage, with an output folder of its own unless it is rank 0."""
    children.end_with_parent(launcher)
    job, number = _job(folder), int(os.environ["RANK"])
    file = Path(folder) / f"rank-{number}.pickle"
    if number:
        job = replace(job, out=Path(folder) / f"out-{number}")
        job.out.mkdir()

    def tell(message: Message) -> None:
        files.write_bytes(file, pickle.dumps(message))

    said = assignment.run(job, tell, Samplers())
    tell(said)
    if said.kind == "failed":
        os._exit(1)  # without waiting for the others, who wait for this one
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _wait(launcher: "subprocess.Popen[bytes]") -> int | None:
    try:
        return launcher.wait(POLL)
    except subprocess.TimeoutExpired:
        return None


def _job(folder: str) -> Assignment:
    found: Assignment = pickle.loads((Path(folder) / "job.pickle").read_bytes())  # noqa: S301 - the worker's own file
    return found


def _read(path: Path) -> Message | None:
    """What a rank said last, if it said anything yet."""
    try:
        found: Message = pickle.loads(path.read_bytes())  # noqa: S301 - a rank's own file
    except FileNotFoundError:
        return None
    return found
