"""The table of Jobs, and their folders.

In `jobs/<id>/`: `alive` is locked as long as the Job's supervisor lives, `result.json` is the ending, `log` the output,
`cancel` the request to end it, `work` the Job's folder. Specifications hold secrets and stay in the database.
"""

import json
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedded_hub.clock import now
from embedded_hub.database.connection import Database, new_id

OVER = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
STAGES = ("SCHEDULING", "RUNNING", *OVER)
ENDED_LISTED = 500
"""Jobs that are over and still listed, with their logs."""


@dataclass(frozen=True)
class Job:
    """One Job; `spec` comes from `job_spec.parse`, `initiator` is the user, Job or webhook that started it."""

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
    """The table and the folders of Jobs."""

    def __init__(self, database: Database, root: Path) -> None:
        self._database, self.root = database, root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.changed = threading.Event()
        """Set when a Job should start or end."""

    def folder(self, job: Job) -> Path:
        """Return a Job's folder."""
        return self.root / job.id

    def add(self, namespace: str, spec: dict[str, Any], initiator: dict[str, str]) -> Job:
        """Enter a waiting Job."""
        job = Job(new_id(), namespace, spec, initiator, now(), None, None, "SCHEDULING", None)
        self._database.insert("jobs", job)
        self._database.after_commit(self.changed.set)
        return job

    def find(self, id_: str) -> Job | None:
        """Return the Job of that id."""
        return self._database.find(Job, "jobs", "id=?", id_)

    def all(self, namespace: str) -> list[Job]:
        """Return the Jobs of a user or organisation, the newest first."""
        return self._database.select(Job, "jobs", "namespace=? ORDER BY rowid DESC", namespace)

    def in_stage(self, *stages: str) -> list[Job]:
        """Return the Jobs in these stages, the oldest first."""
        condition = f"stage IN ({', '.join('?' * len(stages))}) ORDER BY rowid"
        return self._database.select(Job, "jobs", condition, *stages)

    def busy(self) -> bool:
        """Return whether a Job runs or waits."""
        return self._database.first("SELECT 1 FROM jobs WHERE stage IN ('SCHEDULING', 'RUNNING') LIMIT 1") is not None

    def over(self, job: Job) -> bool:
        """Return whether the Job has ended meanwhile."""
        current = self.find(job.id)
        return current is None or current.stage in OVER

    def set_labels(self, job: Job, labels: dict[str, str]) -> None:
        """Replace a Job's labels."""
        self._database.run("UPDATE jobs SET spec=? WHERE id=?", json.dumps(job.spec | {"labels": labels}), job.id)

    def begin(self, job: Job) -> bool:
        """Mark a Job as started, which happens once; return False if it was cancelled meanwhile."""
        query = "UPDATE jobs SET stage='RUNNING', started=? WHERE id=? AND stage='SCHEDULING'"
        return self._database.run(query, now(), job.id).rowcount > 0

    def end(self, job: Job, stage: str, message: str | None, was: str = "RUNNING") -> bool:
        """Record a Job's ending and delete old Jobs; return False if it is not in the stage `was`."""
        query = "UPDATE jobs SET stage=?, message=?, finished=? WHERE id=? AND stage=?"
        changed = self._database.run(query, stage, message, now(), job.id, was).rowcount > 0
        over = "stage NOT IN ('SCHEDULING', 'RUNNING') ORDER BY rowid DESC LIMIT -1 OFFSET ?"
        for old in self._database.select(Job, "jobs", over, ENDED_LISTED):
            shutil.rmtree(self.folder(old), ignore_errors=True)
            self._database.delete("jobs", "id", old.id)
        return changed
