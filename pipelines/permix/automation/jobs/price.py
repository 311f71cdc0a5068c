"""The price of Jobs, before they are submitted."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from permix.errors import BadInput, PermixError, nearest
from permix.pipeline.estimate import costs, estimate, shapes
from permix.pipeline.plan import Step
from permix.publishing.hub import Hub

if TYPE_CHECKING:
    from huggingface_hub import JobHardwareInfo

UNITS = {"second": 3600, "minute": 60, "hour": 1}
"""The number of the Hub's billing units in an hour."""
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Flavor:
    """One kind of hardware: USD an hour, and the Machine of the estimate, None for an unknown device."""

    name: str
    hourly: float
    machine: costs.Machine | None


def flavor(name: str, hub: Hub) -> Flavor:
    """Return the flavor called `name`; BadInput names the nearest."""
    with hub.sentences("list the hardware of Jobs"):
        flavors = {info.name: info for info in hub.api.list_jobs_hardware()}
    if name not in flavors:
        raise BadInput(f"There is no flavor {name!r} on {hub.endpoint}: {nearest(name, flavors)}")
    info = flavors[name]
    return Flavor(name, round(info.unit_cost_usd * UNITS[info.unit_label], 3), _machine(info))


def seconds(duration: str) -> int:
    """Return the seconds of a duration such as 90m, 4h or 2d."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", duration)
    if not match or not (total := int(float(match[1]) * SECONDS[match[2]])):
        raise BadInput(f"--timeout {duration!r} should be a duration such as 90m, 4h or 2d.")
    return total


def check(flavor: Flavor, parts: Sequence[Sequence[Step]], timeout: str, max_cost: float | None, hub: Hub) -> str:
    """Return a sentence on the cost of one Job for each of `parts`; BadInput where that may exceed `max_cost`."""
    hours = seconds(timeout) / 3600
    distinct = {step.target: step for steps in parts for step in steps}.values()
    servers = sum(step.cost.get("USD", 0.0) for step in distinct if step.state != "current")
    bound = hours * flavor.hourly * len(parts) + servers
    jobs = f"1 Job on {flavor.name}" if len(parts) == 1 else f"{len(parts)} Jobs on {flavor.name}"
    if max_cost is not None and bound > max_cost:
        room = max(0.0, max_cost - servers) / (flavor.hourly * len(parts)) if flavor.hourly else 0.0
        fits = f"lower --timeout to {int(room * 60)}m, or raise --max-cost" if room * 60 >= 1 else "raise --max-cost"
        raise BadInput(f"{jobs} for at most {timeout} may cost {bound:.2f} USD, --max-cost is {max_cost:.2f}: {fits}.")
    expected = _expected_seconds(flavor, distinct, hub)
    about = "no estimate for this hardware"
    if expected is not None:
        about = f"about {expected / 3600:.1f} h and {expected / 3600 * flavor.hourly:.2f} USD by the estimate"
    return f"{jobs}, {flavor.hourly:.2f} USD an hour: {about}, at most {bound:.2f} USD (--timeout {timeout})."


def _expected_seconds(flavor: Flavor, steps: Collection[Step], hub: Hub) -> float | None:
    """Return the seconds of the steps that are not current; None where device or model size is not known."""
    if flavor.machine is None:
        return None
    try:
        amounts = estimate.amounts(list(steps), flavor.machine, lambda repo: shapes.on(hub, repo))
    except PermixError:
        return None
    return sum(amount.seconds for step, amount in zip(steps, amounts, strict=True) if step.state != "current")


def _machine(info: "JobHardwareInfo") -> costs.Machine | None:
    accelerator: Any = info.accelerator
    if accelerator is None:
        return costs.Machine(costs.DEVICES["cpu"])
    device = costs.device_of(accelerator.model)
    return costs.Machine(device, int(accelerator.quantity)) if device else None
