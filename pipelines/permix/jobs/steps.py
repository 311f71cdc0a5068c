"""Make the steps of plans in Jobs, one for each plan; what comes out is what would have come out here."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from permix import models
from permix.asked import Plan, Terms
from permix.errors import BadInput, PermixError, Stopped
from permix.hub import Hub
from permix.jobs import follow, price, submit
from permix.jobs.submit import Command


def make(plans: Sequence[Plan], terms: Terms, hub: Hub) -> bool:
    """Bring all plans to the state current; False where their Jobs were started and left to themselves.

    A failure is raised after all Jobs have ended.
    """
    todo = [plan for plan in plans if plan.open]
    if not todo:
        return True
    _refuse_shared(todo)
    for repo in dict.fromkeys(repo.partition("@")[0] for plan in todo for repo in plan.foreign):
        hub.check_read(repo)
    commands = [command(plan) for plan in todo]
    flavor = price.flavor(terms.flavor, hub)
    print(price.check(flavor, [plan.steps for plan in todo], terms.timeout, terms.max_cost, hub), file=sys.stderr)
    jobs = [submit.start(one, hub, flavor.name, price.seconds(terms.timeout)) for one in commands]
    for plan, job in zip(todo, jobs, strict=True):
        print(f"Job {job.id} makes {', '.join(step.target for step in plan.open)}: {job.url}", file=sys.stderr)
    if not terms.wait:
        print("\n".join(job.id for job in jobs))
        return False
    failures: list[PermixError] = []
    for plan, job in zip(todo, jobs, strict=True):
        try:
            follow.to_the_end(job, hub)
            _collect(plan, hub, job.id)
        except Stopped:
            raise
        except PermixError as failure:
            failures.append(failure)
    if failures:
        raise failures[0]
    return True


def command(plan: Plan) -> Command:
    """What a Job runs for the plan: the same stage, recipe and changes, whose files travel along."""
    asked = plan.asked
    recipe, contents = submit.travelling(asked.name)
    changes = list(asked.overrides)
    if own := plan.recipe.eval_personas:
        travelling = f"personas/{Path(own).name}"
        contents[travelling] = Path(own).read_bytes()
        changes.append(f"personas.eval={json.dumps(travelling)}")
    words = [asked.until or "run", "--recipe", recipe]
    words += [word for change in changes for word in ("--set", change)]
    words += [word for stage in asked.fresh for word in ("--fresh", stage)]
    words += ["--workers", str(asked.workers)] if asked.workers else []
    words += ["--processes", str(asked.processes)] if asked.processes > 1 else []
    secrets = {name: key for step in plan.open for name, key in models.keys(step.config).items()}
    return Command(plan.recipe.org, tuple(words), contents, secrets, _extras(plan))


def _extras(plan: Plan) -> tuple[str, ...]:
    """Of permix's extras those that the steps import from."""
    found = set()
    for step in plan.open:
        needs = getattr(step.module, "NEEDS", ())
        needs = needs(step.config) if callable(needs) else needs
        found |= ({"train"} if needs else set()) | ({"vllm"} & set(needs))
    return tuple(sorted(found))


def _refuse_shared(plans: Sequence[Plan]) -> None:
    """Two Jobs must not make the same artifact."""
    wanted = Counter(step.target for plan in plans for step in plan.open)
    if shared := [target for target, times in wanted.items() if times > 1]:
        stages = dict.fromkeys(step.stage for plan in plans for step in plan.open if step.target in shared)
        raise BadInput(
            f"Several Jobs would make {shared[0]}: make it first, with the same options and the command "
            f"`permix {next(iter(stages))}`, or leave --fan-out away."
        )


def _collect(plan: Plan, hub: Hub, job_id: str) -> None:
    """See that the Job has published what it was for."""
    for step in plan.steps:
        step.fresh = False
    plan.look(hub)
    if plan.open:
        raise PermixError(
            f"Job {job_id} completed, and {plan.open[0].target} is {plan.open[0].state}: "
            f"`permix jobs logs {job_id}` says why."
        )
