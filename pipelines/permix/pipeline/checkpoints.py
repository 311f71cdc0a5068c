"""Checkpoints of a training on a branch of its adapter's repository, if the recipe sets `checkpoint_branch`.

Each checkpoint is one commit, pushed while the training runs, so the branch always holds one whole checkpoint. The
branch is named after the artifact's digest, so another machine that trains the same adapter resumes from it.
"""

import os
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from permix.errors import PermixError
from permix.pipeline.plan import Step
from permix.progress import Board
from permix.publishing.hub import Hub, split
from permix.training import loop

FOLDER = "checkpoints"
SAMPLES = "samples"


@dataclass
class Branches:
    """The branches of all trainings of a run; uploads run in threads, one at a time for each training."""

    hub: Hub
    board: Board
    _uploads: dict[str, threading.Thread] = field(default_factory=dict)
    _pushed: dict[str, int] = field(default_factory=dict)

    def restore(self, step: Step, work: Path) -> None:
        """Fetch the branch's checkpoint into the work folder if it is newer than those in there."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        if option(step) == "none":
            return
        kind, name = split(step.target)
        fetched = work / "fetched"
        shutil.rmtree(fetched, ignore_errors=True)
        with self.hub.sentences(f"fetch the checkpoint of {step.target}"):
            try:
                snapshot_download(
                    name,
                    repo_type=kind,
                    revision=branch(step),
                    endpoint=self.hub.endpoint,
                    token=self.hub.token or False,
                    local_dir=fetched,
                    allow_patterns=[f"{FOLDER}/*", f"{SAMPLES}/*"],
                )
            except (RepositoryNotFoundError, RevisionNotFoundError):
                return
        for checkpoint in (fetched / FOLDER).glob("checkpoint-*"):
            (checkpoint / loop.MARK).touch()
        pushed, local = loop.complete(fetched / FOLDER), loop.complete(work / FOLDER)
        if pushed and (not local or loop.number(pushed[0]) > loop.number(local[0])):
            self._pushed[step.target] = loop.number(pushed[0])
            for part in (FOLDER, SAMPLES):
                shutil.rmtree(work / part, ignore_errors=True)
                if (fetched / part).exists():
                    (fetched / part).rename(work / part)
        shutil.rmtree(fetched)

    def push(self, step: Step, work: Path) -> None:
        """Start to push the newest complete checkpoint, unless the branch has it or another upload is running."""
        if option(step) == "none" or (step.target in self._uploads and self._uploads[step.target].is_alive()):
            return
        newest = loop.complete(work / FOLDER)[:1]
        if not newest or loop.number(newest[0]) <= self._pushed.get(step.target, 0):
            return
        copy = work / "pushed"  # of links, because the trainer deletes old checkpoints during the upload
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(newest[0], copy / FOLDER / newest[0].name, copy_function=_link)
        if (work / SAMPLES).exists():
            shutil.copytree(work / SAMPLES, copy / SAMPLES, copy_function=_link, ignore=shutil.ignore_patterns(".*"))
        arguments = (step, copy, loop.number(newest[0]))
        self._uploads[step.target] = threading.Thread(target=self._upload, args=arguments, daemon=True)
        self._uploads[step.target].start()

    def close(self, step: Step, work: Path) -> None:
        """After publication, delete the branch, or push the last checkpoint to a branch that the recipe keeps."""
        self.wait(step)
        if option(step) == "keep":
            self.push(step, work)
            self.wait(step)
        if option(step) != "delete":
            return
        kind, name = split(step.target)
        with self.hub.sentences(f"delete the checkpoints of {step.target}"):
            refs = self.hub.api.list_repo_refs(name, repo_type=kind)
            if branch(step) in {ref.name for ref in refs.branches}:
                self.hub.api.delete_branch(name, branch=branch(step), repo_type=kind)

    def wait(self, step: Step) -> None:
        """Wait until no upload of the training is running."""
        if upload := self._uploads.pop(step.target, None):
            upload.join()

    def _upload(self, step: Step, folder: Path, number: int) -> None:
        """Commit this checkpoint and delete older ones; a failure does not stop the training."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        kind, name = split(step.target)
        paths = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
        paths = {path: file for path, file in paths.items() if file.name != loop.MARK}
        try:
            with self.hub.sentences(f"push a checkpoint of {step.target}"):
                self.hub.api.create_repo(name, repo_type=kind, exist_ok=True)
                self.hub.api.create_branch(name, branch=branch(step), repo_type=kind, exist_ok=True)
                listed = self.hub.api.list_repo_files(name, repo_type=kind, revision=branch(step))
                old = [path for path in listed if path.startswith(f"{FOLDER}/") and path not in paths]
                operations: list[Any] = [CommitOperationAdd(path, file) for path, file in paths.items()]
                operations += map(CommitOperationDelete, old)
                title = f"checkpoint at step {number}"
                self.hub.api.create_commit(
                    name, operations, commit_message=title, repo_type=kind, revision=branch(step)
                )
            self._pushed[step.target] = number
        except PermixError as error:
            self.board.say(f"Note: {error} The training continues without it.")
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)


def option(step: Step) -> str:
    """Return the recipe's `checkpoint_branch`: none (no branch), or delete or keep (at publication)."""
    return getattr(step.config, "checkpoint_branch", "none")


def branch(step: Step) -> str:
    """Return the name of the step's branch, from its digest."""
    return f"checkpoint-{step.digest[:12]}"
