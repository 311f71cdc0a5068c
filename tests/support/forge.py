"""GitHub with a Hub behind it, for the workflows."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from permix.publishing.hub import Artifact, Hub, RepositoryState
from tests.support import workflows

BASE, ADAPTER = "me/tiny", "me/tiny-lora"
SWEEP = "datasets/results/permix-sweep-tiny-tiny-lora-me"


@dataclass(frozen=True)
class Forge:
    """GitHub for these tests: `run` runs a job of a workflow against `hub`, as the account `bot` of `results`."""

    hub: Hub
    folder: Path
    bot: str
    adapter: Path = field(repr=False)

    @property
    def variables(self) -> dict[str, str]:
        """The repository's variables."""
        named = {"BENCHMARKS": "arithmetic", "LIMIT": "2", "RECIPE": "smoke", "RUNNER": "self-hosted"}
        return {f"PERMIX_{key}": value for key, value in named.items()} | {"PERMIX_ORG": "results"}

    def run(self, name: str, job: str, event: dict[str, Any] | None = None, **more: Any) -> workflows.Ran:
        settings = {"variables": self.variables, "secrets": {"HF_TOKEN": self.bot}} | more
        where = {"HF_ENDPOINT": self.hub.endpoint, "PERMIX_HOME": str(self.folder / "home")}
        return workflows.run(name, job, self.folder / job, event=event or {}, **settings, **where)

    def evaluate(self, event: dict[str, Any], **more: Any) -> tuple[list[Any], workflows.Ran]:
        """Run the workflow `evaluate` for an event; its requests, and the run of the last one."""
        done = first = self.run("evaluate", "request", event, **more)
        assert first.ended == 0, first.log
        requests = json.loads(first.outputs["requests"])
        for request in requests:
            needs = {"request": {"outputs": first.outputs}}
            done = self.run("evaluate", "evaluate", event, matrix={"request": request}, needs=needs, **more)
            assert done.ended == 0, done.log
        return requests, done

    def state(self, repo: str) -> RepositoryState:
        """Return a repository at its head."""
        state = self.hub.state(repo)
        assert state
        return state

    def artifact(self, repo: str) -> Artifact:
        """Return an artifact of permix at its head."""
        artifact = self.hub.artifact(repo)
        assert artifact
        return artifact
