"""Runs gradio Spaces on this machine, each on a port of its own, until they are paused or this server ends."""

import http.client
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from threading import Thread

from embedded_hub.compute import supervised_process
from embedded_hub.context import Hub, log
from embedded_hub.database.accounts import RepoRow
from embedded_hub.database.spaces import Runtime
from embedded_hub.store import card_metadata

TICK, IDLE, SLOW = 0.1, 30.0, 1.0
"""Seconds between two looks: while a Space starts or ends, while none runs, while some run."""
START_SECONDS = 600
"""That an app has until it answers."""


@dataclass
class _Live:
    build: int
    port: int
    keeper: "Popen[bytes]"
    since: float


class SpaceHost(Thread):
    """Starts, watches and ends the Spaces of a Hub until `stop`."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(name="spaces", daemon=True)
        self._hub, self._live, self._stopping = hub, dict[int, _Live](), False

    def run(self) -> None:
        """Bring what runs in line with what should run; those that ran when the last server ended start again."""
        spaces = self._hub.spaces
        for one in spaces.wanted():
            spaces.start(one.repo) if self._hub.allowed.runs_jobs() else spaces.end(one.repo, "STOPPED")
        while not self._stopping:
            spaces.changed.clear()
            pause = SLOW
            try:
                pause = self._look()
            except Exception:
                log.exception("looking after Spaces failed")
            spaces.changed.wait(pause)

    def stop(self) -> None:
        """End; the Spaces notice that this process is gone."""
        self._stopping = True
        self._hub.spaces.changed.set()

    def _look(self) -> float:
        """Do what is due; the seconds until the next look."""
        wanted = {one.repo: one for one in self._hub.spaces.wanted() if self._hub.allowed.runs_jobs()}
        busy = False
        for repo, live in list(self._live.items()):
            one = wanted.get(repo)
            if one is None or one.build != live.build:
                busy |= self._end(repo, live)
        for one in wanted.values():
            live_one = self._live.get(one.repo)
            if live_one is None and one.stage == "BUILDING":
                busy = True
                try:
                    self._start(one)
                except Exception as error:
                    log.exception("starting a Space failed")
                    message = f"It could not be started: {type(error).__name__}; the Hub's log has the details"
                    self._hub.spaces.note(one, "BUILD_ERROR", message=message)
            elif live_one and live_one.build == one.build:
                busy |= self._watch(one, live_one)
        return TICK if busy else SLOW if self._live else IDLE

    def _end(self, repo: int, live: _Live) -> bool:
        """Whether it still has to end."""
        if live.keeper.poll() is None:
            supervised_process.end(self._hub.spaces.folder(repo))
            return True
        del self._live[repo]
        return repo in {one.repo for one in self._hub.spaces.wanted()}

    def _start(self, one: Runtime) -> None:
        row, folder = self._hub.accounts.repo_of_id(one.repo), self._hub.spaces.folder(one.repo)
        if row is None or supervised_process.alive(folder):
            return  # deleted just now; or one of the server before this, which is about to notice
        for left in ("work", "log", "result.json", "cancel"):
            path = folder / left
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        app = _checked_out(self._hub, row, folder / "work")
        if isinstance(app, Failed):
            self._hub.spaces.note(one, app.stage, message=app.message)
            return
        port = _free_port()
        spaces = self._hub.spaces
        values = {found.key: found.value for secret in (False, True) for found in spaces.values(row.id, secret)}
        environment = supervised_process.base_environment(self._hub, folder) | _about(row, port) | values
        note = "The embedded Hub runs this Space on this machine, with its own Python and what is installed in it."
        keeper = supervised_process.start(folder, [sys.executable, app], environment, notes=(note,), tied=True)
        self._live[one.repo] = _Live(one.build, port, keeper, time.monotonic())
        self._hub.spaces.note(one, "APP_STARTING")

    def _watch(self, one: Runtime, live: _Live) -> bool:
        """Whether it still has to start."""
        if live.keeper.poll() is not None:
            _, message = supervised_process.result(self._hub.spaces.folder(one.repo))
            self._hub.spaces.note(one, "RUNTIME_ERROR", message=message or "The app ended by itself")
            del self._live[one.repo]
        elif one.stage == "APP_STARTING":
            if _answers(live.port):
                self._hub.spaces.note(one, "RUNNING", live.port)
                return False
            if time.monotonic() - live.since > START_SECONDS:
                self._hub.spaces.note(one, "RUNTIME_ERROR", message=f"The app did not answer within {START_SECONDS} s")
            return True
        return False


@dataclass(frozen=True)
class Failed:
    """A Space that cannot be started, and why."""

    stage: str
    message: str


def _checked_out(hub: Hub, row: RepoRow, folder: Path) -> str | Failed:
    """Write the files of `main` into `folder`; the app's path there."""
    git = hub.store.repo(row.kind, row.full_name)
    commit = git.head("main") or ""
    try:
        metadata = card_metadata.metadata(git.text(commit, "README.md") or "")
    except card_metadata.BadCard as error:
        return Failed("CONFIG_ERROR", str(error))
    app, files = str(metadata.get("app_file") or "app.py"), dict(git.files(commit))
    if row.sdk != "gradio":
        return Failed("CONFIG_ERROR", f"The embedded Hub runs gradio Spaces, and the sdk of this one is {row.sdk}.")
    if app not in files:
        return Failed("NO_APP_FILE", f"There is no {app} in this Space.")
    for path, content in _contents(hub, row, commit):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, target)
        else:
            target.write_bytes(content)
    return app


def _contents(hub: Hub, row: RepoRow, commit: str) -> Iterator[tuple[str, bytes | Path]]:
    """Path and content of every file; of a large one where it lies."""
    git = hub.store.repo(row.kind, row.full_name)
    for path, oid in git.files(commit):
        entry = git.at(commit, path)
        large = entry.pointer if entry else None
        if large and hub.accounts.granted(row, [large.oid]):
            yield path, hub.lfs.path(large.oid)
        else:
            yield path, git.read(oid)


def _about(row: RepoRow, port: int) -> dict[str, str]:
    """What the real Hub tells a Space of itself, and where to listen."""
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
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
