"""Jobs: start, list, follow, cancel them."""

import time
from datetime import datetime
from functools import partial
from typing import Any

from starlette.responses import JSONResponse, Response

from embedded_hub.api.buckets import check_volumes
from embedded_hub.compute import job_runner, job_spec
from embedded_hub.compute.job_metrics import metrics_stream
from embedded_hub.compute.log_stream import event_stream
from embedded_hub.database.accounts import valid_namespace
from embedded_hub.database.jobs import STAGES, Job
from embedded_hub.errors import HubError
from embedded_hub.request import HubRequest
from embedded_hub.routing import route

PAGE_SIZE = 100


def hardware(request: HubRequest) -> Response:
    """List the hardware flavors."""
    return JSONResponse(job_spec.HARDWARE)


def submit(request: HubRequest) -> Response:
    """Start a Job."""
    namespace = _namespace(request, write=True)
    spec = job_spec.parse(request.json)
    check_volumes(request, spec["volumes"])
    user = request.caller().user
    initiator = {"type": "user", "id": user, "name": user}
    return JSONResponse(_described(job_runner.submit(request.context, namespace, spec, initiator)))


def listing(request: HubRequest) -> Response:
    """List the Jobs of a namespace, by stage and labels, page by page."""
    query = request.http.query_params
    stages = [stage.upper() for stage in query.getlist("stage")]
    labels = [label.partition("=")[::2] for label in query.getlist("label")]
    if not set(stages) <= set(STAGES):
        raise HubError(400, f"A stage is one of {', '.join(STAGES)}.")
    jobs = [job for job in request.context.jobs.all(_namespace(request)) if not stages or job.stage in stages]
    jobs = [job for job in jobs if all(job.spec["labels"].get(key) == value for key, value in labels)]
    page, headers = request.page(jobs, PAGE_SIZE)
    return JSONResponse([_described(job) for job in page], headers=headers)


def details(request: HubRequest) -> Response:
    """Describe one Job."""
    return JSONResponse(_described(_find(request)))


def cancel(request: HubRequest) -> Response:
    """Cancel a Job."""
    job_runner.cancel(request.context, _find(request, write=True))
    return JSONResponse(_described(_find(request)))


def duplicate(request: HubRequest) -> Response:
    """Start another Job with the same specification."""
    job = _find(request, write=True)
    initiator = {"type": "duplicated-job", "id": job.id}
    return JSONResponse(_described(job_runner.submit(request.context, job.namespace, job.spec, initiator)))


def relabel(request: HubRequest) -> Response:
    """Replace a Job's labels."""
    request.context.jobs.set_labels(_find(request, write=True), job_spec.labels(request.json.get("labels")))
    return JSONResponse(_described(_find(request)))


def logs(request: HubRequest) -> Response:
    """Stream the Job's output, from its beginning or the last `tail` lines, until it is over."""
    job = _find(request)
    log = request.context.jobs.folder(job) / "log"
    return event_stream(log, partial(request.context.jobs.over, job), request.number("tail", -1))


def metrics(request: HubRequest) -> Response:
    """Stream the Job's CPU and memory use, once a second, until it is over."""
    job = _find(request)
    return metrics_stream(job.id, partial(request.context.jobs.over, job))


def _namespace(request: HubRequest, write: bool = False) -> str:
    """Return the namespace of the path; 404 if the caller may not see its Jobs, 403 if it may not start any."""
    namespace = request.param("namespace")
    if not valid_namespace(namespace) or not request.caller().may_read(namespace):
        raise HubError(404, f"There are no jobs of {namespace[:80]!r} that this token may see.")
    if write:
        request.check_may_write(namespace, f"run jobs of {namespace}")
    return namespace


def _find(request: HubRequest, write: bool = False) -> Job:
    namespace = _namespace(request, write)
    job = request.context.jobs.find(request.param("oid"))
    if job is None or job.namespace.lower() != namespace.lower():
        raise HubError(404, f"There is no job {request.param('oid')[:40]!r} of {namespace}.")
    return job


def _described(job: Job) -> dict[str, Any]:
    begun, running, end = (_seconds(timestamp) for timestamp in (job.created, job.started, job.finished))
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


def _seconds(timestamp: str | None) -> float | None:
    return datetime.fromisoformat(timestamp).timestamp() if timestamp else None


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
