"""The tables of running Spaces: whether they should run, their stage, their variables and secrets."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedded_hub.clock import now
from embedded_hub.database.connection import Database

ACTIVE = ("BUILDING", "APP_STARTING", "RUNNING")


@dataclass(frozen=True)
class Runtime:
    """The stage of a Space. `build` grows with every start, so that a report about an earlier start is ignored."""

    repo: int
    stage: str = "STOPPED"
    build: int = 0
    port: int | None = None
    message: str | None = None
    flavor: str = "cpu-basic"
    sleep: int | None = None


@dataclass(frozen=True)
class Value:
    """A variable or a secret of a Space."""

    key: str
    value: str
    description: str | None
    updated: str


class RunningSpaces:
    """The tables of Spaces, and the folders in which they run."""

    def __init__(self, database: Database, root: Path) -> None:
        self._database, self.root = database, root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.changed = threading.Event()
        """Set when a Space should start or end."""

    def folder(self, repo: int) -> Path:
        """Return the folder in which a Space runs."""
        return self.root / str(repo)

    def runtime(self, repo: int) -> Runtime:
        """Return the stage of a Space."""
        return self._database.find(Runtime, "running_spaces", "repo=?", repo) or Runtime(repo)

    def active(self) -> list[Runtime]:
        """Return the Spaces that should run."""
        return self._database.select(Runtime, "running_spaces", f"stage IN {ACTIVE}")

    def start(self, repo: int) -> None:
        """Request the start of a Space, or a restart."""
        self._set(repo, "stage='BUILDING', build=build + 1, port=NULL, message=NULL")

    def restart_if_active(self, repo: int) -> None:
        """Request a restart if the Space should run: its files or its variables have changed."""
        if self.runtime(repo).stage in (*ACTIVE, "RUNTIME_ERROR"):
            self.start(repo)

    def end(self, repo: int, stage: str) -> None:
        """Request the end of a Space, as PAUSED or STOPPED."""
        self._set(repo, "stage=?, port=NULL, message=NULL", stage)

    def set_flavor(self, repo: int, flavor: str) -> None:
        """Record the requested hardware; a Space runs on this machine in any case."""
        self._set(repo, "flavor=?", flavor)

    def set_sleep(self, repo: int, seconds: int) -> None:
        """Record the requested sleep time; a Space here never sleeps."""
        self._set(repo, "sleep=?", seconds)

    def set_stage(self, runtime: Runtime, stage: str, port: int | None = None, message: str | None = None) -> None:
        """Record the stage, unless another request has changed it meanwhile."""
        query = "UPDATE running_spaces SET stage=?, port=?, message=? WHERE repo=? AND build=? AND stage=?"
        self._database.run(query, stage, port, message, runtime.repo, runtime.build, runtime.stage)

    def values(self, repo: int, secret: bool) -> list[Value]:
        """Return a Space's variables or secrets."""
        return self._database.select(Value, "space_values", "repo=? AND secret=? ORDER BY key", repo, secret)

    def put_value(self, repo: int, secret: bool, key: str, value: str, description: str | None) -> None:
        """Set a variable or a secret."""
        query = "INSERT OR REPLACE INTO space_values VALUES (?, ?, ?, ?, ?, ?)"
        self._database.run(query, repo, secret, key, value, description, now())
        self.restart_if_active(repo)

    def remove_value(self, repo: int, secret: bool, key: str) -> bool:
        """Delete a variable or a secret; return whether it existed."""
        query = "DELETE FROM space_values WHERE repo=? AND secret=? AND key=?"
        removed = self._database.run(query, repo, secret, key).rowcount > 0
        self.restart_if_active(repo)
        return removed

    def remove(self, repo: int) -> None:
        """Delete a Space's rows; its process ends."""
        for table in ("running_spaces", "space_values"):
            self._database.delete(table, "repo", repo)
        self._database.after_commit(self.changed.set)

    def _set(self, repo: int, change: str, *values: Any) -> None:
        with self._database.transaction():
            self._database.insert("running_spaces", Runtime(repo), "ON CONFLICT DO NOTHING")
            self._database.run(f"UPDATE running_spaces SET {change} WHERE repo=?", *values, repo)  # noqa: S608
        self._database.after_commit(self.changed.set)
