"""What a Job may cost, before it is submitted."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from permix.errors import BadInput, PermixError, nearest
from permix.pipeline.estimate import costs, estimate, shapes
from permix.pipeline.estimate.costs import DEVICES, Machine
from permix.pipeline.plan import Step
from permix.publishing.hub import Hub

if TYPE_CHECKING:
    from huggingface_hub import JobHardwareInfo

UNITS = {"second": 3600, "minute": 60, "hour": 1}
"""How many of the Hub's billing units an hour has."""
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Flavor:
    """One kind of hardware: USD an hour, and as a machine of estimate.costs where its device is in that table."""

    name: str
    hourly: float
    machine: Machine | None


def flavor(name: str, hub: Hub) -> Flavor:
    """The flavor called `name`; BadInput names the nearest."""
    with hub.sentences("list the hardware of Jobs"):
        found = {info.name: info for info in hub.api.list_jobs_hardware()}
    if name not in found:
        raise BadInput(f"There is no flavor {name!r} on {hub.endpoint}: {nearest(name, found)}")
    info = found[name]
    return Flavor(name, round(info.unit_cost_usd * UNITS[info.unit_label], 3), _machine(info))


def seconds(text: str) -> int:
    """Of a duration such as 90m, 4h or 2d."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not found or not (total := int(float(found[1]) * SECONDS[found[2]])):
        raise BadInput(f"--timeout {text!r} should be a duration such as 90m, 4h or 2d.")
    return total


def check(on: Flavor, parts: Sequence[Sequence[Step]], timeout: str, most: float | None, hub: Hub) -> str:
    """A sentence on what a Job for each of `parts` (its steps) costs; BadInput where that may exceed `most`."""
    hours = seconds(timeout) / 3600
    distinct = {step.target: step for steps in parts for step in steps}.values()
    servers = sum(step.cost.get("USD", 0.0) for step in distinct if step.state != "current")
    bound = hours * on.hourly * len(parts) + servers
    jobs = "1 Job" if len(parts) == 1 else f"{len(parts)} Jobs"
    if most is not None and bound > most:
        room = max(0.0, most - servers) / (on.hourly * len(parts)) if on.hourly else 0.0
        fits = f"lower --timeout to {int(room * 60)}m, or raise --max-cost" if room * 60 >= 1 else "raise --max-cost"
        raise BadInput(
            f"{jobs} on {on.name} for at most {timeout} may cost {bound:.2f} USD, and --max-cost is {most:.2f}: {fits}."
        )
    expected = _expected(on, distinct, hub)
    about = "no estimate for this hardware"
    if expected is not None:
        about = f"about {expected / 3600:.1f} h and {expected / 3600 * on.hourly:.2f} USD by the estimate"
    return f"{jobs} on {on.name}, {on.hourly:.2f} USD an hour: {about}, at most {bound:.2f} USD (--timeout {timeout})."


def _expected(on: Flavor, steps: Collection[Step], hub: Hub) -> float | None:
    """Seconds that the steps which are not current take; None where the device or the size of a model is not known."""
    if on.machine is None:
        return None
    try:
        found = estimate.amounts(list(steps), on.machine, lambda repo: shapes.on(hub, repo))
    except PermixError:
        return None
    return sum(amount.seconds for step, amount in zip(steps, found, strict=True) if step.state != "current")


def _machine(info: "JobHardwareInfo") -> Machine | None:
    accelerator: Any = info.accelerator
    if accelerator is None:
        return Machine(DEVICES["cpu"])
    device = costs.device_of(accelerator.model)
    return Machine(device, int(accelerator.quantity)) if device else None
