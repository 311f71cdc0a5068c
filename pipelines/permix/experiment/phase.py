"""The toy world's phase diagram: PSS and voice by the share of weak styles in the base's answers without a persona."""

from collections.abc import Mapping
from typing import Any

STRONG, WEAK = (0.42, 0.24), (0.22, 0.12)
"""The default odds of steps and skim, and of direct and ramble. A share changes their sums, not their ratios."""


def overrides(org: str, share: float) -> list[str]:
    """Return the changes to the recipe for one share: the odds without a persona, and the org of the artifacts."""
    odds = [(1 - share) * x / sum(STRONG) for x in STRONG] + [share * x / sum(WEAK) for x in WEAK]
    return [f'org="{org}-weak-{round(100 * share):02}"', f"toy.plain={[round(x, 6) for x in odds]}"]


def points(share: float, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows at one share, from the facts of its tables; `lead` is PerMix-RLVR's PSS minus RLVR's."""
    pair = ("pss", "rlvr", "permix-rlvr")
    leads = {c["benchmark"]: c for c in facts["claims"] if (c["measure"], c["first"], c["second"]) == pair}
    names = [f"{measure}{end}" for measure in ("pss", "voice") for end in ("", "_low", "_high")]
    rows = []
    for benchmark, lines in facts["tables"].items():
        for line in lines:
            lead = leads.get(benchmark, {}) if line["variant"] == "permix-rlvr" else {}
            ends = {"lead": lead.get("difference"), "lead_low": lead.get("low"), "lead_high": lead.get("high")}
            point = {"benchmark": benchmark, "variant": line["variant"], "share": share}
            rows.append({**point, **{name: line[name] for name in names}, **ends})
    return rows
