"""The Collection of an organisation: all that permix has published there, with the paper, on one page."""

import sys
from typing import Any, cast

from permix.publishing.hub import Hub, split

TITLE, PAPER = "PerMix-RLVR", "2604.08986"
DESCRIPTION = "Persona-robust post-training: personas, adapters, sweeps, metric and Spaces, each with its run record."


def gather(hub: Hub, org: str) -> str:
    """Put the paper, then Spaces, models and datasets with a run record into the Collection; return its address.

    What is in it stays, in the order that its owner gave it.
    """
    from huggingface_hub.errors import HfHubHTTPError

    with hub.sentences(f"collect what {org} has published on {hub.endpoint}"):
        api = hub.api
        slug = api.create_collection(TITLE, namespace=org, description=DESCRIPTION, exists_ok=True).slug
        listed = {(str(item.item_type), item.item_id) for item in api.get_collection(slug).items}
        if ("paper", PAPER) not in listed:
            try:
                api.add_collection_item(slug, PAPER, "paper")
            except HfHubHTTPError:
                print(f"Note: {hub.endpoint} has no page of the paper {PAPER} to collect.", file=sys.stderr)
        for repo in hub.repositories(org):
            kind, name = split(repo)
            if (kind, name) not in listed and hub.artifact(repo):
                api.add_collection_item(slug, name, cast(Any, kind), exists_ok=True)
    return f"{hub.endpoint}/collections/{slug}"
