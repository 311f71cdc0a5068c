"""Jobs: start, list, follow, cancel them."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from starlette.responses import JSONResponse, Response

from embedded_hub.api.buckets import check_volumes
from embedded_hub.compute import job_runner, job_spec
from embedded_hub.compute.job_metrics import metrics_stream
from embedded_hub.compute.log_stream import event_stream
from embedded_hub.database.accounts import valid_namespace
from embedded_hub.database.jobs import OVER, STAGES, Job
from embedded_hub.errors import HubError
from embedded_hub.request import Call
from embedded_hub.routing import route

PAGE_SIZE = 100


def hardware(call: Call) -> Response:
    """The flavors that may be asked for."""
    return JSONResponse(job_spec.hardware())


def submit(call: Call) -> Response:
    """Start a job."""
    namespace = _namespace(call, write=True)
    spec = job_spec.parse(call.json)
    check_volumes(call, spec["volumes"])
    return JSONResponse(_described(job_runner.submit(call.hub, namespace, spec, _initiator(call))))


def listing(call: Call) -> Response:
    """The jobs of a namespace, by stage and labels, page by page."""
    query = call.request.query_params
    stages = [one.upper() for one in query.getlist("stage")]
    labels = [one.partition("=")[::2] for one in query.getlist("label")]
    if not set(stages) <= set(STAGES):
        raise HubError(400, f"A stage is one of {', '.join(STAGES)}.")
    found = [one for one in call.hub.jobs.all(_namespace(call)) if not stages or one.stage in stages]
    found = [one for one in found if all(one.spec["labels"].get(key) == value for key, value in labels)]
    start, size = call.number("cursor", 0), min(max(call.number("limit", PAGE_SIZE), 1), PAGE_SIZE)
    headers = call.next_page("cursor", start + size) if start + size < len(found) else {}
    return JSONResponse([_described(one) for one in found[start : start + size]], headers=headers)


def details(call: Call) -> Response:
    """One job."""
    return JSONResponse(_described(_the(call)))


def cancel(call: Call) -> Response:
    """End a job."""
    job = _the(call, write=True)
    job_runner.cancel(call.hub, job)
    return JSONResponse(_described(_the(call)))


def duplicate(call: Call) -> Response:
    """Start another job like this one."""
    job = _the(call, write=True)
    initiator = {"type": "duplicated-job", "id": job.id}
    return JSONResponse(_described(job_runner.submit(call.hub, job.namespace, job.spec, initiator)))


def relabel(call: Call) -> Response:
    """Replace a job's labels."""
    call.hub.jobs.set_labels(_the(call, write=True), job_spec.labels(call.json.get("labels")))
    return JSONResponse(_described(_the(call)))


def logs(call: Call) -> Response:
    """What the job prints, from its beginning or the last `tail` lines, until it is over."""
    job = _the(call)
    return event_stream(call.hub.jobs.folder(job) / "log", _over(call, job), call.number("tail", -1))


def metrics(call: Call) -> Response:
    """What the job takes of the machine, once a second, until it is over."""
    job = _the(call)
    return metrics_stream(job.id, _over(call, job))


def _namespace(call: Call, write: bool = False) -> str:
    """The namespace of the path; 404 for who may not see its jobs, 403 for who may not start any."""
    namespace = call.param("namespace")
    if not valid_namespace(namespace) or not call.who().may_read(namespace):
        raise HubError(404, f"There are no jobs of {namespace[:80]!r} that this token may see.")
    if write and not call.who().may_write(namespace):
        raise HubError(403, f"The token {call.who().token_name!r} may not run jobs of {namespace}.")
    return namespace


def _the(call: Call, write: bool = False) -> Job:
    namespace = _namespace(call, write)
    job = call.hub.jobs.find(call.param("oid"))
    if job is None or job.namespace.lower() != namespace.lower():
        raise HubError(404, f"There is no job {call.param('oid')[:40]!r} of {namespace}.")
    return job


def _over(call: Call, job: Job) -> Callable[[], bool]:
    """What tells whether the job is over by now."""

    def over() -> bool:
        found = call.hub.jobs.find(job.id)
        return found is None or found.stage in OVER

    return over


def _initiator(call: Call) -> dict[str, str]:
    return {"type": "user", "id": call.who().user, "name": call.who().user}


def _described(job: Job) -> dict[str, Any]:
    """A job as clients read it."""
    begun, running, end = (_seconds(time_text) for time_text in (job.created, job.started, job.finished))
    last = end or time.time()
    durations = {
        "schedulingSecs": int(running - begun) if running and begun else None,
        "runningSecs": int(last - running) if running else None,
        "totalSecs": int(last - (begun or last)),
    }
    return job_spec.described(job.spec) | {
        "id": job.id, "createdAt": job.created, "startedAt": job.started, "finishedAt": job.finished,
        "status": {"stage": job.stage, "message": job.message}, "durations": durations, "initiator": job.initiator,
        "owner": {"id": job.namespace, "name": job.namespace, "type": "user"},
    }  # fmt: skip


def _seconds(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None


_JOB = "/api/jobs/{namespace}"
ROUTES = [
    route("GET", "/api/jobs/hardware", hardware),
    route("GET", _JOB, listing),
    route("POST", _JOB, submit),
    route("GET", f"{_JOB}/{{oid}}", details),
    route("POST", f"{_JOB}/{{oid}}/cancel", cancel),
    route("POST", f"{_JOB}/{{oid}}/duplicate", duplicate),
    route("PUT", f"{_JOB}/{{oid}}/labels", relabel),
    route("GET", f"{_JOB}/{{oid}}/logs", logs),
    route("GET", f"{_JOB}/{{oid}}/metrics", metrics),
]
