"""The terms of work in Jobs of the Hub."""

from dataclasses import dataclass


@dataclass(frozen=True)
class JobTerms:
    """Hardware and time limit of each Job, the USD that all may cost, whether to wait for them, and their division."""

    flavor: str
    timeout: str
    max_cost: float | None
    wait: bool
    fan_out: str
