"""Spaces as the database knows them besides their files: whether they should run, how far they are, what they find."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedded_hub.clock import now
from embedded_hub.database.accounts import Accounts

_SCHEMA = """
CREATE TABLE IF NOT EXISTS running_spaces(repo INTEGER PRIMARY KEY, stage TEXT NOT NULL, build INTEGER NOT NULL,
    port INTEGER, message TEXT, flavor TEXT NOT NULL, sleep INTEGER);
CREATE TABLE IF NOT EXISTS space_values(repo INTEGER NOT NULL, secret INTEGER NOT NULL, key TEXT NOT NULL,
    value TEXT NOT NULL, description TEXT, updated TEXT NOT NULL, PRIMARY KEY(repo, secret, key)) WITHOUT ROWID;
"""
_COLUMNS = "repo, stage, build, port, message, flavor, sleep"
WANTED = ("BUILDING", "APP_STARTING", "RUNNING")


@dataclass(frozen=True)
class Runtime:
    """How far a Space is. `build` grows with every start, so that what runs is known to be of the last one."""

    repo: int
    stage: str = "STOPPED"
    build: int = 0
    port: int | None = None
    message: str | None = None
    flavor: str = "cpu-basic"
    sleep: int | None = None


@dataclass(frozen=True)
class Value:
    """A variable, or a secret, of a Space."""

    key: str
    value: str
    description: str | None
    updated: str


class RunningSpaces:
    """The tables of Spaces, and the folders in which they run."""

    def __init__(self, accounts: Accounts, root: Path) -> None:
        self._accounts, self.root = accounts, root
        self._accounts.sql.executescript(_SCHEMA)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.changed = threading.Event()
        """Set when there is something to start, or to end."""

    def folder(self, repo: int) -> Path:
        """Where a Space runs."""
        return self.root / str(repo)

    def runtime(self, repo: int) -> Runtime:
        """How far a Space is."""
        row = self._accounts.sql.execute(f"SELECT {_COLUMNS} FROM running_spaces WHERE repo=?", (repo,)).fetchone()  # noqa: S608
        return Runtime(*row) if row else Runtime(repo)

    def wanted(self) -> list[Runtime]:
        """The Spaces that should run."""
        rows = self._accounts.sql.execute(f"SELECT {_COLUMNS} FROM running_spaces")  # noqa: S608
        return [one for row in rows.fetchall() if (one := Runtime(*row)).stage in WANTED]

    def start(self, repo: int) -> None:
        """Have a Space built and started, anew when it runs."""
        self._set(repo, "stage='BUILDING', build=build + 1, port=NULL, message=NULL", ())

    def restart_if_wanted(self, repo: int) -> None:
        """The same for a Space that should run: its files or its variables have changed."""
        if self.runtime(repo).stage in (*WANTED, "RUNTIME_ERROR"):
            self.start(repo)

    def end(self, repo: int, stage: str) -> None:
        """Have a Space end, as PAUSED or STOPPED."""
        self._set(repo, "stage=?, port=NULL, message=NULL", (stage,))

    def set_flavor(self, repo: int, flavor: str) -> None:
        """Note the hardware that was asked for; here there is only this machine."""
        self._set(repo, "flavor=?", (flavor,))

    def set_sleep(self, repo: int, seconds: int) -> None:
        """Note after how many seconds it should sleep; here it never does."""
        self._set(repo, "sleep=?", (seconds,))

    def note(self, one: Runtime, stage: str, port: int | None = None, message: str | None = None) -> None:
        """Note how far it is, unless somebody wants it otherwise by now."""
        query = "UPDATE running_spaces SET stage=?, port=?, message=? WHERE repo=? AND build=? AND stage=?"
        self._accounts.sql.execute(query, (stage, port, message, one.repo, one.build, one.stage))

    def values(self, repo: int, secret: bool) -> list[Value]:
        """A Space's variables, or its secrets."""
        query = "SELECT key, value, description, updated FROM space_values WHERE repo=? AND secret=? ORDER BY key"
        return [Value(*row) for row in self._accounts.sql.execute(query, (repo, int(secret)))]

    def put_value(self, repo: int, secret: bool, key: str, value: str, description: str | None) -> None:
        """Set a variable or a secret."""
        query = "INSERT OR REPLACE INTO space_values VALUES (?, ?, ?, ?, ?, ?)"
        self._accounts.sql.execute(query, (repo, int(secret), key, value, description, now()))
        self.restart_if_wanted(repo)

    def remove_value(self, repo: int, secret: bool, key: str) -> bool:
        """Strike out a variable or a secret; False when there is none of that name."""
        query = "DELETE FROM space_values WHERE repo=? AND secret=? AND key=?"
        done = self._accounts.sql.execute(query, (repo, int(secret), key)).rowcount > 0
        self.restart_if_wanted(repo)
        return done

    def forget(self, repo: int) -> None:
        """Strike a Space out; what runs of it is ended."""
        for table in ("running_spaces", "space_values"):
            self._accounts.sql.execute(f"DELETE FROM {table} WHERE repo=?", (repo,))  # noqa: S608
        self._accounts.when_done(self.changed.set)

    def _set(self, repo: int, change: str, values: tuple[Any, ...]) -> None:
        with self._accounts.transaction():
            query = "INSERT OR IGNORE INTO running_spaces VALUES (?, 'STOPPED', 0, NULL, NULL, 'cpu-basic', NULL)"
            self._accounts.sql.execute(query, (repo,))
            self._accounts.sql.execute(f"UPDATE running_spaces SET {change} WHERE repo=?", (*values, repo))  # noqa: S608
        self._accounts.when_done(self.changed.set)
