"""The Collection of an organisation: the paper and every artifact of permix on one page."""

import sys
from typing import Any, cast

from permix.publishing.hub import Hub, split

TITLE, PAPER = "PerMix-RLVR", "2604.08986"
DESCRIPTION = "Persona-robust post-training: personas, adapters, sweeps, metric and Spaces, each with its run record."


def gather(hub: Hub, org: str) -> str:
    """Append the paper, then Spaces, models and datasets with a run record to the Collection; return its address."""
    from huggingface_hub.errors import HfHubHTTPError

    with hub.sentences(f"collect the repositories of {org} on {hub.endpoint}"):
        api = hub.api
        slug = api.create_collection(TITLE, namespace=org, description=DESCRIPTION, exists_ok=True).slug
        listed = {(str(item.item_type), item.item_id) for item in api.get_collection(slug).items}
        if ("paper", PAPER) not in listed:
            try:
                api.add_collection_item(slug, PAPER, "paper")
            except HfHubHTTPError:
                print(f"Note: {hub.endpoint} does not have a page for the paper {PAPER} to collect.", file=sys.stderr)
        for repo in hub.repositories(org):
            kind, name = split(repo)
            if (kind, name) not in listed and hub.artifact(repo):
                api.add_collection_item(slug, name, cast(Any, kind), exists_ok=True)
    return f"{hub.endpoint}/collections/{slug}"
