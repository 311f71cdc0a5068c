"""Make the steps of plans in Jobs, one for each plan; what comes out is what would have come out here."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from permix.automation.jobs import follow, price, submit
from permix.automation.jobs.submit import Command
from permix.automation.jobs.terms import JobTerms
from permix.errors import BadInput, PermixError, Stopped
from permix.experiment import models
from permix.pipeline.plan import Plan
from permix.publishing.hub import Hub

if TYPE_CHECKING:
    from huggingface_hub import JobInfo


def build(plans: Sequence[Plan], terms: JobTerms, hub: Hub) -> bool:
    """Bring all plans to the state current; False where their Jobs were started and left to themselves.

    What several of them would make is made before, in Jobs of its own. A failure is raised after all Jobs have ended.
    """
    if not any(plan.open for plan in plans):
        return True
    before = _shared(plans, terms, hub)
    for repo in dict.fromkeys(repo.partition("@")[0] for plan in plans if plan.open for repo in plan.foreign):
        hub.check_read(repo)
    flavor = price.flavor(terms.flavor, hub)
    parts = [plan.steps for plan in (*before, *plans) if plan.open]
    print(price.check(flavor, parts, terms.timeout, terms.max_cost, hub), file=sys.stderr)
    for plan in before:
        plan.look_up(hub)  # the one before it may have made some of it
        _follow(_start([plan], terms, hub), hub)
        _leave_out(plan, plans, hub)
    jobs = _start(plans, terms, hub)
    if not terms.wait:
        print("\n".join(job.id for _, job in jobs))
        return False
    _follow(jobs, hub)
    return True


def _start(plans: Sequence[Plan], terms: JobTerms, hub: Hub) -> "list[tuple[Plan, JobInfo]]":
    """A Job for each plan that has something open."""
    todo = [plan for plan in plans if plan.open]
    commands = [command(plan) for plan in todo]
    jobs = [submit.start(one, hub, terms.flavor, price.seconds(terms.timeout)) for one in commands]
    for plan, job in zip(todo, jobs, strict=True):
        print(f"Job {job.id} makes {', '.join(step.target for step in plan.open)}: {job.url}", file=sys.stderr)
    return list(zip(todo, jobs, strict=True))


def _follow(jobs: "Sequence[tuple[Plan, JobInfo]]", hub: Hub) -> None:
    """Follow the Jobs one after the other, and see that they have published what they were for."""
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


def command(plan: Plan) -> Command:
    """What a Job runs for the plan: the same stage, recipe and changes, whose files travel along."""
    request = plan.request
    recipe, contents = submit.travelling(request.name)
    changes = list(request.overrides)
    if own := plan.recipe.eval_personas:
        travelling = f"personas/{Path(own).name}"
        contents[travelling] = Path(own).read_bytes()
        changes.append(f"personas.eval={json.dumps(travelling)}")
    words = [request.until or "run", "--recipe", recipe]
    words += [word for change in changes for word in ("--set", change)]
    words += [word for stage in request.fresh for word in ("--fresh", stage)]
    words += ["--workers", str(request.workers)] if request.workers else []
    words += ["--processes", str(request.processes)] if request.processes > 1 else []
    secrets = {name: key for step in plan.open for name, key in models.keys(step.config).items()}
    return Command(plan.recipe.org, tuple(words), contents, secrets, _extras(plan))


def _extras(plan: Plan) -> tuple[str, ...]:
    """Of permix's extras those that the steps import from."""
    extras = set()
    for step in plan.open:
        needs = step.stage.needs(step.config)
        extras |= ({"train"} if needs else set()) | ({"vllm"} & set(needs))
    return tuple(sorted(extras))


def _shared(plans: Sequence[Plan], terms: JobTerms, hub: Hub) -> list[Plan]:
    """Plans of what several of `plans` would make, for two Jobs must not make the same artifact.

    Each goes up to a stage and so brings what that stage needs. BadInput where nobody would wait for their Jobs.
    """
    times = Counter(step.target for plan in plans for step in plan.open)
    left = {target for target, number in times.items() if number > 1}
    found = []
    for plan in plans:
        for step in reversed(plan.open):
            if step.target in left:
                found.append(Plan.of(replace(plan.request, until=step.stage.name)))
                found[-1].look_up(hub)
                left -= {step.target for step in found[-1].steps}
    if found and not terms.wait:
        raise BadInput(
            f"Several Jobs need {found[0].open[-1].target}, which a Job before them would make: leave --detach away, "
            f"or make it first, with the same options and the command `permix {found[0].request.until}`."
        )
    return found


def _leave_out(made: Plan, plans: Sequence[Plan], hub: Hub) -> None:
    """What `made` holds now is not to be made afresh once more."""
    targets = {step.target for step in made.steps}
    for plan in plans:
        for step in plan.steps:
            step.fresh = step.fresh and step.target not in targets
        plan.request = replace(plan.request, fresh=tuple(dict.fromkeys(s.stage.name for s in plan.steps if s.fresh)))
        plan.look_up(hub)


def _collect(plan: Plan, hub: Hub, job_id: str) -> None:
    """See that the Job has published what it was for."""
    for step in plan.steps:
        step.fresh = False
    plan.look_up(hub)
    if plan.open:
        raise PermixError(
            f"Job {job_id} completed, and {plan.open[0].target} is {plan.open[0].state}: "
            f"`permix jobs logs {job_id}` says why."
        )
