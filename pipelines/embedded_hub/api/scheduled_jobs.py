"""Scheduled jobs: make, list, change, suspend, resume, start and delete them."""

import time
from dataclasses import replace
from typing import Any

from starlette.responses import JSONResponse, Response

from embedded_hub.api.jobs import described, namespace_of, owner, spec_of
from embedded_hub.clock import now, written
from embedded_hub.compute import cron, job_runner, job_spec
from embedded_hub.database.accounts import new_id
from embedded_hub.database.jobs import ScheduledJob
from embedded_hub.errors import HubError
from embedded_hub.request import Call
from embedded_hub.routing import route


def submit(call: Call) -> Response:
    """Start a job again and again."""
    namespace = namespace_of(call, write=True)
    job_runner.check_allowed(call.hub)
    wanted = call.json.get("jobSpec")
    spec = spec_of(call, wanted if isinstance(wanted, dict) else {})
    schedule, due = _schedule(call)
    suspended, concurrency = (call.switch(key) for key in ("suspend", "concurrency"))
    one = ScheduledJob(new_id(), namespace, spec, schedule, suspended, concurrency, now(), due, None, None)
    return _put(call, one)


def listing(call: Call) -> Response:
    """The scheduled jobs of a namespace."""
    labels = [one.partition("=")[::2] for one in call.request.query_params.getlist("label")]
    found = call.hub.jobs.all_scheduled(namespace_of(call))
    found = [one for one in found if all(one.spec["labels"].get(key) == value for key, value in labels)]
    return JSONResponse([_described(one) for one in found])


def details(call: Call) -> Response:
    """One scheduled job."""
    return JSONResponse(_described(_the(call)))


def delete(call: Call) -> Response:
    """Delete a scheduled job."""
    call.hub.jobs.remove_scheduled(_the(call, write=True))
    return JSONResponse({})


def suspend(call: Call) -> Response:
    """Let it rest."""
    return _put(call, replace(_the(call, write=True), suspended=True))


def resume(call: Call) -> Response:
    """Let it go on, from its next time."""
    one = _the(call, write=True)
    return _put(call, replace(one, suspended=False, due=cron.next_time(one.schedule, time.time())))


def reschedule(call: Call) -> Response:
    """Give it another schedule."""
    one = _the(call, write=True)
    schedule, due = _schedule(call)
    return _put(call, replace(one, schedule=schedule, due=due))


def relabel(call: Call) -> Response:
    """Replace its labels."""
    one = _the(call, write=True)
    return _put(call, replace(one, spec=one.spec | {"labels": job_spec.labels(call.json.get("labels"))}))


def trigger(call: Call) -> Response:
    """Start it once, now."""
    made = job_runner.start_scheduled(call.hub, _the(call, write=True).id, due=False)
    if made is None:
        raise HubError(409, "Its last job is not over, and this scheduled job allows no two at once.")
    return JSONResponse(described(made))


def _put(call: Call, one: ScheduledJob) -> Response:
    call.hub.jobs.put_scheduled(one)
    return JSONResponse(_described(one))


def _schedule(call: Call) -> tuple[str, float]:
    schedule = str(call.json.get("schedule"))[:200]
    try:
        return schedule, cron.next_time(schedule, time.time())
    except cron.BadSchedule as error:
        raise HubError(400, f"The schedule {schedule!r} means nothing here: {error}.") from None


def _the(call: Call, write: bool = False) -> ScheduledJob:
    namespace = namespace_of(call, write)
    one = call.hub.jobs.find_scheduled(call.param("oid"))
    if one is None or one.namespace.lower() != namespace.lower():
        raise HubError(404, f"There is no scheduled job {call.param('oid')[:40]!r} of {namespace}.")
    return one


def _described(one: ScheduledJob) -> dict[str, Any]:
    last = {"id": one.last_job, "at": one.last_at} if one.last_job else None
    status = {"lastJob": last, "nextJobRunAt": None if one.suspended else written(int(one.due))}
    known = {"id": one.id, "createdAt": one.created, "schedule": one.schedule, "suspend": one.suspended}
    more = {"concurrency": one.concurrency, "owner": owner(one.namespace), "status": status}
    return known | more | {"jobSpec": job_spec.described(one.spec)}


_PLAN = "/api/scheduled-jobs/{namespace}"
ROUTES = [
    route("GET", _PLAN, listing),
    route("POST", _PLAN, submit),
    route("GET", f"{_PLAN}/{{oid}}", details),
    route("DELETE", f"{_PLAN}/{{oid}}", delete),
    route("POST", f"{_PLAN}/{{oid}}/suspend", suspend),
    route("POST", f"{_PLAN}/{{oid}}/resume", resume),
    route("POST", f"{_PLAN}/{{oid}}/schedule", reschedule),
    route("POST", f"{_PLAN}/{{oid}}/run", trigger),
    route("PUT", f"{_PLAN}/{{oid}}/labels", relabel),
]
