"""Jobs as the database knows them, and their folders.

In `jobs/<id>/`: `alive` is locked as long as the job's keeper lives, `result.json` is its last word, `log` what the job
printed, `cancel` the wish to end it, `work` the job's own folder. Specifications hold secrets and stay in the database.
"""

import json
import shutil
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedded_hub.clock import now
from embedded_hub.database.accounts import Accounts, new_id

OVER = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
STAGES = ("SCHEDULING", "RUNNING", *OVER)
KEPT = 500
"""Jobs that are over and still listed, with their logs."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs(id TEXT PRIMARY KEY, namespace TEXT NOT NULL COLLATE NOCASE, spec TEXT NOT NULL,
    initiator TEXT NOT NULL, created TEXT NOT NULL, started TEXT, finished TEXT, stage TEXT NOT NULL, message TEXT);
CREATE INDEX IF NOT EXISTS jobs_by_stage ON jobs(stage);
"""
_COLUMNS = "id, namespace, spec, initiator, created, started, finished, stage, message"


@dataclass(frozen=True)
class Job:
    """One job; `spec` as `job_spec.parse` gives it, `initiator` who or what started it."""

    id: str
    namespace: str
    spec: dict[str, Any]
    initiator: dict[str, str]
    created: str
    started: str | None
    finished: str | None
    stage: str
    message: str | None


class Jobs:
    """The tables and folders of jobs."""

    def __init__(self, accounts: Accounts, root: Path) -> None:
        self._accounts, self.root = accounts, root
        self._accounts.sql.executescript(_SCHEMA)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.changed = threading.Event()
        """Set when there is something to start, or to end."""

    def folder(self, job: Job) -> Path:
        """Where a job's files are."""
        return self.root / job.id

    def add(self, namespace: str, spec: dict[str, Any], initiator: dict[str, str]) -> Job:
        """Enter a job that waits for its turn."""
        made = Job(new_id(), namespace, spec, initiator, now(), None, None, "SCHEDULING", None)
        values = (made.id, namespace, json.dumps(spec), json.dumps(initiator), made.created)
        query = "INSERT INTO jobs(id, namespace, spec, initiator, created, stage) VALUES (?, ?, ?, ?, ?, 'SCHEDULING')"
        self._accounts.sql.execute(query, values)
        self._accounts.when_done(self.changed.set)
        return made

    def find(self, id_: str) -> Job | None:
        """The job of that id."""
        found = self._where("id=?", [id_])
        return found[0] if found else None

    def all(self, namespace: str) -> list[Job]:
        """The jobs of a user or organisation, the newest first."""
        return self._where("namespace=? ORDER BY rowid DESC", [namespace])

    def in_stage(self, *stages: str) -> list[Job]:
        """The jobs in one of these stages, the oldest first."""
        return self._where(f"stage IN ({', '.join('?' * len(stages))}) ORDER BY rowid", stages)

    def busy(self) -> bool:
        """Whether a job runs or waits."""
        query = "SELECT 1 FROM jobs WHERE stage IN ('SCHEDULING', 'RUNNING') LIMIT 1"
        return self._accounts.sql.execute(query).fetchone() is not None

    def set_labels(self, job: Job, labels: dict[str, str]) -> None:
        """Give it other labels."""
        spec = json.dumps(job.spec | {"labels": labels})
        self._accounts.sql.execute("UPDATE jobs SET spec=? WHERE id=?", (spec, job.id))

    def begin(self, job: Job) -> bool:
        """Note that it is being started, which happens once in its life; False when it was cancelled meanwhile."""
        query = "UPDATE jobs SET stage='RUNNING', started=? WHERE id=? AND stage='SCHEDULING'"
        return self._accounts.sql.execute(query, (now(), job.id)).rowcount > 0

    def end(self, job: Job, stage: str, message: str | None, was: str = "RUNNING") -> bool:
        """Note how it ended; False when it is not in the stage `was` any more. Old ones go."""
        query = "UPDATE jobs SET stage=?, message=?, finished=? WHERE id=? AND stage=?"
        done = self._accounts.sql.execute(query, (stage, message, now(), job.id, was)).rowcount > 0
        over = "stage NOT IN ('SCHEDULING', 'RUNNING') ORDER BY rowid DESC LIMIT -1 OFFSET ?"
        for old in self._where(over, [KEPT]):
            shutil.rmtree(self.folder(old), ignore_errors=True)
            self._accounts.sql.execute("DELETE FROM jobs WHERE id=?", (old.id,))
        return done

    def _where(self, where: str, values: Iterable[Any]) -> list[Job]:
        rows = self._accounts.sql.execute(f"SELECT {_COLUMNS} FROM jobs WHERE {where}", tuple(values))  # noqa: S608
        return [Job(row[0], row[1], json.loads(row[2]), json.loads(row[3]), *row[4:]) for row in rows.fetchall()]
