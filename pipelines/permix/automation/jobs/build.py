"""Build plans in Jobs of the Hub, one Job for each plan. The artifacts are the same as those of a build here."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from permix.automation.jobs import follow, price, submit
from permix.errors import BadInput, PermixError, Stopped
from permix.experiment import models
from permix.pipeline.plan import Plan
from permix.publishing.hub import Hub

if TYPE_CHECKING:
    from huggingface_hub import JobInfo


@dataclass(frozen=True)
class JobTerms:
    """Hardware and time limit of each Job, the USD that all may cost, whether to wait for them, and their division."""

    flavor: str
    timeout: str
    max_cost: float | None
    wait: bool
    fan_out: str


def build(plans: Sequence[Plan], terms: JobTerms, hub: Hub) -> bool:
    """Build the plans' steps, shared artifacts first; return False for detached Jobs. Failures follow the last Job."""
    if not any(plan.open for plan in plans):
        return True
    shared = _shared(plans, terms, hub)
    for repo in dict.fromkeys(repo.partition("@")[0] for plan in plans if plan.open for repo in plan.foreign):
        hub.check_read(repo)
    flavor = price.flavor(terms.flavor, hub)
    parts = [plan.steps for plan in (*shared, *plans) if plan.open]
    print(price.check(flavor, parts, terms.timeout, terms.max_cost, hub), file=sys.stderr)
    for plan in shared:
        plan.look_up(hub)  # the Job before may have built some of its steps
        _follow(_start([plan], terms, hub), hub)
        _leave_out(plan, plans, hub)
    jobs = _start(plans, terms, hub)
    if not terms.wait:
        print("\n".join(job.id for _, job in jobs))
        return False
    _follow(jobs, hub)
    return True


def _start(plans: Sequence[Plan], terms: JobTerms, hub: Hub) -> "list[tuple[Plan, JobInfo]]":
    unfinished = [plan for plan in plans if plan.open]
    commands = [command(plan) for plan in unfinished]
    jobs = [submit.start(command, hub, terms.flavor, price.seconds(terms.timeout)) for command in commands]
    for plan, job in zip(unfinished, jobs, strict=True):
        print(f"Job {job.id} makes {', '.join(step.target for step in plan.open)}: {job.url}", file=sys.stderr)
    return list(zip(unfinished, jobs, strict=True))


def _follow(jobs: "Sequence[tuple[Plan, JobInfo]]", hub: Hub) -> None:
    """Follow the Jobs one after the other, and check that each has published its artifacts."""
    failures: list[PermixError] = []
    for plan, job in jobs:
        try:
            follow.to_the_end(job, hub)
            _collect(plan, hub, job.id)
        except Stopped:
            raise
        except PermixError as failure:
            failures.append(failure)
    if failures:
        raise failures[0]


def command(plan: Plan) -> submit.Command:
    """Return the command of the plan's Job: the same stage, recipe and changes, with the files that they name."""
    request = plan.request
    recipe, contents = submit.recipe_file(request.name)
    changes = list(request.overrides)
    if personas := plan.recipe.eval_personas:
        path = f"personas/{Path(personas).name}"
        contents[path] = Path(personas).read_bytes()
        changes.append(f"personas.eval={json.dumps(path)}")
    words = [request.until or "run", "--recipe", recipe]
    words += [word for change in changes for word in ("--set", change)]
    words += [word for stage in request.fresh for word in ("--fresh", stage)]
    words += ["--workers", str(request.workers)] if request.workers else []
    words += ["--processes", str(request.processes)] if request.processes > 1 else []
    secrets = {name: key for step in plan.open for name, key in models.keys(step.config).items()}
    return submit.Command(plan.recipe.org, tuple(words), contents, secrets, _extras(plan))


def _extras(plan: Plan) -> tuple[str, ...]:
    extras = set()
    for step in plan.open:
        needs = step.stage.needs(step.config)
        extras |= ({"train"} if needs else set()) | ({"vllm"} & set(needs))
    return tuple(sorted(extras))


def _shared(plans: Sequence[Plan], terms: JobTerms, hub: Hub) -> list[Plan]:
    """Return plans of the artifacts that several of `plans` would build, because two Jobs must not build the same.

    Each ends at one stage and includes what that stage needs. BadInput where --detach would not wait for their Jobs.
    """
    counts = Counter(step.target for plan in plans for step in plan.open)
    remaining = {target for target, count in counts.items() if count > 1}
    shared = []
    for plan in plans:
        for step in reversed(plan.open):
            if step.target in remaining:
                shared.append(Plan.of(replace(plan.request, until=step.stage.name)))
                shared[-1].look_up(hub)
                remaining -= {step.target for step in shared[-1].steps}
    if shared and not terms.wait:
        raise BadInput(
            f"Several Jobs need {shared[0].open[-1].target}, which a Job before them would make: omit --detach, "
            f"or make it first, with the same options and the command `permix {shared[0].request.until}`."
        )
    return shared


def _leave_out(built: Plan, plans: Sequence[Plan], hub: Hub) -> None:
    targets = {step.target for step in built.steps}
    for plan in plans:
        for step in plan.steps:
            step.fresh = step.fresh and step.target not in targets
        plan.request = replace(plan.request, fresh=tuple(dict.fromkeys(s.stage.name for s in plan.steps if s.fresh)))
        plan.look_up(hub)


def _collect(plan: Plan, hub: Hub, job_id: str) -> None:
    for step in plan.steps:
        step.fresh = False
    plan.look_up(hub)
    if plan.open:
        raise PermixError(
            f"Job {job_id} completed, and {plan.open[0].target} is {plan.open[0].state}: "
            f"`permix jobs logs {job_id}` says why."
        )
