"""An embedded Hub with somebody's base and adapters, and a token that may write to the organisation `results` alone."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from embedded_hub import launch
from embedded_hub.database.accounts import Accounts
from permix.publishing.hub import Head, Hub
from tests.automation import workflow
from tests.sampling.engines.test_transformers_sampler import make_adapter
from tests.support.hubs import embedded
from tests.support.tiny_model import make_tiny_model

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

    def run(self, name: str, job: str, event: dict[str, Any] | None = None, **more: Any) -> workflow.Ran:
        settings = {"variables": self.variables, "secrets": {"HF_TOKEN": self.bot}} | more
        where = {"HF_ENDPOINT": self.hub.endpoint, "PERMIX_HOME": str(self.folder / "home")}
        return workflow.run(name, job, self.folder / job, event=event or {}, **settings, **where)

    def head(self, repo: str) -> Head:
        """What the Hub holds of a repository that is there."""
        found = self.hub.head(repo)
        assert found
        return found


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    folder = tmp_path_factory.mktemp("forge")
    hub = embedded(folder / "cache")
    accounts = Accounts(launch.attach(Path(os.environ["PERMIX_HOME"]) / "hub").root / "hub.db")
    bot = accounts.new_token("bot", "bot", "write")
    accounts.add_member("results", "bot")
    accounts.close()
    make_tiny_model(folder / "base")
    make_adapter(folder / "base", folder / "lora", seed=1)
    (folder / "lora" / "README.md").write_text("---\nlicense: mit\n---\n\n# Mine\n")
    config = folder / "lora" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": BASE}))
    for repo, name in ((BASE, "base"), (ADAPTER, "lora")):
        hub.publish(repo, folder / name, "made", None)
    return Forge(hub, folder, bot, folder / "lora")


@pytest.fixture(scope="session")
def evaluated(forge: Forge) -> workflow.Ran:
    """A push of the adapter: the request was checked, and the sweep made, shown and proposed to its owner."""
    payload = {"adapter": ADAPTER, "revision": forge.head(ADAPTER).sha}
    event = {"action": "hub-model-updated", "client_payload": payload}
    first = forge.run("evaluate", "request", event)
    assert first.ended == 0, first.log
    (one,) = json.loads(first.outputs["requests"])
    needs = {"request": {"outputs": first.outputs}}
    done = forge.run("evaluate", "evaluate", event, matrix={"request": one}, needs=needs)
    assert done.ended == 0, done.log
    return done
