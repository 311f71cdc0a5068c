"""Results onto the card of an adapter that may be somebody else's: a commit, or a pull request where the token may not.

The weights are not touched, so that no evaluation follows from it.
"""

from typing import TYPE_CHECKING, Any

import yaml

from permix.errors import BadInput
from permix.publishing import cards, eval_results
from permix.results.reporting import table_lines

if TYPE_CHECKING:
    from permix.publishing.hub import Artifact, Hub, RepositoryState

_CARD = "README.md"


def shows(hub: "Hub", adapter: str, made: "Artifact") -> bool:
    """Whether the adapter's card, or a pull request of ours, tells of this very sweep."""
    head = hub.state(adapter)
    return bool(head and made.sha in _text(hub, head)) or _title(made) in hub.pull_requests(adapter)


def write(hub: "Hub", adapter: str, made: "Artifact") -> str:
    """Put the sweep's numbers onto the adapter's card; say in a sentence what was done.

    Nothing where they are there already, or where the adapter has other weights by now. A pull request that its owner
    closed is not opened again.
    """
    head = hub.state(adapter)
    if head is None:
        raise BadInput(f"There is no adapter {adapter} on {hub.endpoint} any more: nothing is written onto its card.")
    if head.content_digest != made.record["inputs"]["adapter"]["content_digest"]:
        return f"{adapter} holds other weights by now: the results are in {made.repo} alone."
    if shows(hub, adapter, made):
        return f"{adapter} shows these results already."
    rows = [number for row in numbers(hub, made) for number in table_lines.annotation(row, f"{made.repo}@{made.sha}")]
    try:
        page = cards.results_on(_text(hub, head), rows)
    except (ValueError, yaml.YAMLError):
        raise BadInput(f"The metadata of {adapter}'s README.md are no YAML: correct them and run it again.") from None
    found = eval_results.files(hub, rows)
    proposed = hub.write_card(head, page, found, message=_title(made), propose=True)
    return f"The results are proposed to {adapter}: {proposed}" if proposed else f"{adapter} shows the results."


def numbers(hub: "Hub", made: "Artifact") -> list[dict[str, Any]]:
    """A row of numbers for each benchmark of a sweep."""
    config, seed = made.record["config"], made.record["seed"]
    name = f"{config['base']}+{config['adapter']}" if config["adapter"] else config["base"]
    folder = hub.download(f"{made.repo}@{made.sha}", "summary.json").parent
    found = made.record["facts"]["summary"]["benchmarks"]
    return table_lines.read([(name, seed)], list(found), {f"{name}-seed{seed}": folder})[0]


def _title(made: "Artifact") -> str:
    return f"Accuracy under system personas: {made.repo}@{made.sha[:12]}"


def _text(hub: "Hub", head: "RepositoryState") -> str:
    if _CARD not in head.files:
        return ""
    return hub.download(f"{head.repo}@{head.sha}", _CARD).read_text(encoding="utf-8")
