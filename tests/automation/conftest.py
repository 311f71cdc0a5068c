"""An embedded Hub with somebody's base and adapters, and a token that may write to the organisation `results` alone."""

import json
import os
from pathlib import Path

import pytest

from embedded_hub import launch
from embedded_hub.database.accounts import Accounts
from embedded_hub.database.connection import Database
from tests.support import workflows
from tests.support.forge import ADAPTER, BASE, Forge
from tests.support.hubs import embedded
from tests.support.models import make_adapter, make_tiny_model


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    folder = tmp_path_factory.mktemp("forge")
    hub = embedded(folder / "cache")
    accounts = Accounts(Database(launch.attach(Path(os.environ["PERMIX_HOME"]) / "hub").root / "hub.db"))
    bot = accounts.new_token("bot", "bot", "write")
    accounts.add_member("results", "bot")
    accounts.database.close()
    make_tiny_model(folder / "base")
    make_adapter(folder / "base", folder / "lora", seed=1)
    (folder / "lora" / "README.md").write_text("---\nlicense: mit\n---\n\n# Mine\n")
    config = folder / "lora" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": BASE}))
    for repo, name in ((BASE, "base"), (ADAPTER, "lora")):
        hub.publish(repo, folder / name, "made", None)
    return Forge(hub, folder, bot, folder / "lora")


@pytest.fixture(scope="session")
def evaluated(forge: Forge) -> workflows.Ran:
    """A push of the adapter: the request was checked, and the sweep made, shown and proposed to its owner."""
    payload = {"adapter": ADAPTER, "revision": forge.state(ADAPTER).sha}
    (_,), done = forge.evaluate({"action": "hub-model-updated", "client_payload": payload})
    return done
