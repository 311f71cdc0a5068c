"""Put results onto any adapter's card, by commit or pull request. Its weights stay, so no new evaluation starts."""

from typing import Any

import yaml

from permix.errors import BadInput
from permix.publishing import eval_results, model_index
from permix.publishing.hub import Artifact, Hub, RepositoryState
from permix.results.reporting import table_lines

_CARD = "README.md"


def shows(hub: Hub, adapter: str, sweep: Artifact) -> bool:
    """Return whether the adapter's card, or a pull request to it, has the numbers of this very sweep."""
    state = hub.state(adapter)
    return bool(state and sweep.sha in _text(hub, state)) or _title(sweep) in hub.pull_requests(adapter)


def write(hub: Hub, adapter: str, sweep: Artifact) -> str:
    """Put the sweep's numbers onto the adapter's card, unless present, refused or outdated; return a sentence."""
    state = hub.state(adapter)
    if state is None:
        raise BadInput(f"The adapter {adapter} is no longer on {hub.endpoint}: its card cannot get the results.")
    if state.content_digest != sweep.record["inputs"]["adapter"]["content_digest"]:
        return f"{adapter} holds other weights by now: the results are in {sweep.repo} alone."
    if shows(hub, adapter, sweep):
        return f"{adapter} shows these results already."
    revision = f"{sweep.repo}@{sweep.sha}"
    rows = [row for line in numbers(hub, sweep) for row in table_lines.annotation(line, revision)]
    try:
        page = model_index.results_on(_text(hub, state), rows)
    except (ValueError, yaml.YAMLError):
        raise BadInput(f"The metadata of {adapter}'s README.md are not YAML: correct them and run it again.") from None
    files = eval_results.files(hub, rows)
    proposal = hub.write_card(state, page, files, message=_title(sweep), propose=True)
    return f"The results are proposed to {adapter}: {proposal}" if proposal else f"{adapter} shows the results."


def numbers(hub: Hub, sweep: Artifact) -> list[dict[str, Any]]:
    """Return a row of numbers for each benchmark of a sweep."""
    config, seed = sweep.record["config"], sweep.record["seed"]
    name = f"{config['base']}+{config['adapter']}" if config["adapter"] else config["base"]
    folder = hub.download(f"{sweep.repo}@{sweep.sha}", "summary.json").parent
    benchmarks = sweep.record["facts"]["summary"]["benchmarks"]
    return table_lines.read([(name, seed)], list(benchmarks), {f"{name}-seed{seed}": folder})[0]


def _title(sweep: Artifact) -> str:
    return f"Accuracy under system personas: {sweep.repo}@{sweep.sha[:12]}"


def _text(hub: Hub, state: RepositoryState) -> str:
    if _CARD not in state.files:
        return ""
    return hub.download(f"{state.repo}@{state.sha}", _CARD).read_text(encoding="utf-8")
