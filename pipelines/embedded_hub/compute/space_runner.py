"""Run gradio Spaces on this machine, each on its own port, until they are paused or this server ends."""

import shutil
import socket
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from subprocess import Popen

from embedded_hub.compute import supervised_process
from embedded_hub.context import ServerContext, Worker, log
from embedded_hub.database.accounts import RepoRow
from embedded_hub.database.spaces import Runtime
from embedded_hub.store import card_metadata

TICK, IDLE, SLOW = 0.1, 30.0, 1.0
"""Seconds between two updates: while a Space starts or ends, while none runs, while some run."""
START_SECONDS = 600
"""Time limit for an app's first answer."""


@dataclass
class _Process:
    build: int
    port: int
    supervisor: "Popen[bytes]"
    started: float


class SpaceRunner(Worker):
    """Start, watch and end the Spaces of a server. They end with its process."""

    def __init__(self, context: ServerContext) -> None:
        super().__init__("spaces", context, context.spaces.changed)
        self._processes: dict[int, _Process] = {}

    def run(self) -> None:
        """Start and end Spaces as the database says; those that ran when the last server ended start again."""
        spaces = self._context.spaces
        for runtime in spaces.active():
            spaces.start(runtime.repo) if self._context.allowed.runs_jobs() else spaces.end(runtime.repo, "STOPPED")
        super().run()

    def step(self) -> float:
        """Start and end the Spaces that are due."""
        rows = self._context.spaces.active() if self._context.allowed.runs_jobs() else []
        active, busy = {row.repo: row for row in rows}, False
        for repo, process in list(self._processes.items()):
            if repo not in active or active[repo].build != process.build:
                busy |= self._end(repo, process)
        for runtime in active.values():
            current = self._processes.get(runtime.repo)
            if current is None and runtime.stage == "BUILDING":
                busy = True
                try:
                    self._start(runtime)
                except Exception as error:
                    log.exception("starting a Space failed")
                    message = f"It could not be started: {type(error).__name__}; the Hub's log has the details"
                    self._context.spaces.set_stage(runtime, "BUILD_ERROR", message=message)
            elif current and current.build == runtime.build:
                busy |= self._watch(runtime, current)
        return TICK if busy else SLOW if self._processes else IDLE

    def _end(self, repo: int, current: _Process) -> bool:
        """Return whether it is still ending."""
        if current.supervisor.poll() is None:
            supervised_process.end(self._context.spaces.folder(repo))
            return True
        del self._processes[repo]
        return repo in {runtime.repo for runtime in self._context.spaces.active()}

    def _start(self, runtime: Runtime) -> None:
        row, folder = self._context.accounts.repo_of_id(runtime.repo), self._context.spaces.folder(runtime.repo)
        if row is None or supervised_process.alive(folder):
            return  # deleted at this moment; or the previous server's process, which is about to end
        for name in ("work", "log", "result.json", "cancel"):
            path = folder / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        spaces, port = self._context.spaces, _free_port()
        try:
            app = _checked_out(self._context, row, folder / "work")
        except _CannotStart as error:
            stage, message = error.args
            spaces.set_stage(runtime, stage, message=message)
            return
        values = {value.key: value.value for secret in (False, True) for value in spaces.values(row.id, secret)}
        environment = supervised_process.base_environment(self._context, folder) | _variables(row, port) | values
        note = "The embedded Hub runs this Space on this machine, with its own Python and what is installed in it."
        supervisor = supervised_process.start(folder, [sys.executable, app], environment, notes=(note,), tied=True)
        self._processes[runtime.repo] = _Process(runtime.build, port, supervisor, time.monotonic())
        self._context.spaces.set_stage(runtime, "APP_STARTING")

    def _watch(self, runtime: Runtime, current: _Process) -> bool:
        """Return whether it is still starting."""
        if current.supervisor.poll() is not None:
            _, message = supervised_process.result(self._context.spaces.folder(runtime.repo))
            self._context.spaces.set_stage(runtime, "RUNTIME_ERROR", message=message or "The app ended")
            del self._processes[runtime.repo]
        elif runtime.stage == "APP_STARTING":
            if _answers(current.port):
                self._context.spaces.set_stage(runtime, "RUNNING", current.port)
                return False
            if time.monotonic() - current.started > START_SECONDS:
                message = f"The app did not answer within {START_SECONDS} s"
                self._context.spaces.set_stage(runtime, "RUNTIME_ERROR", message=message)
            return True
        return False


class _CannotStart(Exception):
    """The stage of a Space that cannot be started, and the reason."""


def _checked_out(context: ServerContext, row: RepoRow, folder: Path) -> str:
    """Write the files of `main` into `folder` and return the app's path there. _CannotStart."""
    git = context.repositories.open(row.kind, row.full_name)
    commit = git.head("main") or ""
    try:
        metadata = card_metadata.metadata(git.text(commit, "README.md") or "")
    except card_metadata.BadCard as error:
        raise _CannotStart("CONFIG_ERROR", str(error)) from None
    app, files = str(metadata.get("app_file") or "app.py"), dict(git.files(commit))
    if row.sdk != "gradio":
        sentence = f"The embedded Hub runs gradio Spaces, and the sdk of this one is {row.sdk}."
        raise _CannotStart("CONFIG_ERROR", sentence)
    if app not in files:
        raise _CannotStart("NO_APP_FILE", f"There is no {app} in this Space.")
    for path, oid in files.items():
        target, entry = folder / path, git.at(commit, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry and entry.pointer and context.accounts.granted(row, [entry.pointer.oid]):
            shutil.copyfile(context.lfs.path(entry.pointer.oid), target)
        else:
            target.write_bytes(git.read(oid))
    return app


def _variables(row: RepoRow, port: int) -> dict[str, str]:
    names = {"SPACE_ID": row.full_name, "SPACE_AUTHOR_NAME": row.namespace, "SPACE_REPO_NAME": row.name}
    return names | {
        "SPACE_HOST": f"127.0.0.1:{port}", "GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port),
        "PORT": str(port),
    }  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection, suppress(OSError, HTTPException):
        connection.request("GET", "/")
        return connection.getresponse().status < 500
    return False
