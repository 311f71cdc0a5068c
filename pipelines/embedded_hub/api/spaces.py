"""Running Spaces: start and pause them, their variables and secrets, their logs."""

from typing import Any, Literal

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from embedded_hub.compute import job_runner, job_spec
from embedded_hub.compute.log_stream import event_stream
from embedded_hub.database.spaces import ACTIVE, Runtime
from embedded_hub.errors import HubError
from embedded_hub.request import HubRequest, objects
from embedded_hub.routing import route

DESCRIPTION = 1000
"""Most characters."""


def runtime(request: HubRequest) -> Response:
    """Return the Space's stage."""
    return _runtime(request, _space(request, "read"))


def restart(request: HubRequest) -> Response:
    """Start or restart the Space."""
    job_runner.check_allowed(request.context)
    space = _space(request)
    request.context.spaces.start(space)
    return _runtime(request, space)


def pause(request: HubRequest) -> Response:
    """Stop the Space."""
    space = _space(request)
    request.context.spaces.end(space, "PAUSED")
    return _runtime(request, space)


def hardware(request: HubRequest) -> Response:
    """Record the requested hardware; the Space runs on this machine in any case."""
    space = _space(request)
    request.context.spaces.set_flavor(space, job_spec.checked_flavor(request.json.get("flavor")))
    return _runtime(request, space)


def sleep_time(request: HubRequest) -> Response:
    """Record the requested sleep time; a Space here never sleeps."""
    space, seconds = _space(request), request.json.get("seconds")
    if type(seconds) is not int or not -1 <= seconds <= 1 << 31:
        raise HubError(400, "seconds should be a whole number, or -1 for never.")
    request.context.spaces.set_sleep(space, seconds)
    return _runtime(request, space)


def logs(request: HubRequest) -> Response:
    """Stream the app's output; the build log is empty, because nothing is built here."""
    space, name = _space(request), request.param("oid")
    if name not in ("run", "build"):
        raise HubError(404, f"There is no log {name[:40]!r}: run and build are.")
    spaces, is_run = request.context.spaces, name == "run"
    log = spaces.folder(space) / ("log" if is_run else "build")
    return event_stream(log, lambda: not is_run or spaces.runtime(space).stage not in ACTIVE)


def list_values(request: HubRequest, secret: bool) -> Response:
    """Return the variables, or the names of the secrets."""
    return _values(request, _space(request), secret)


def put_value(request: HubRequest, secret: bool) -> Response:
    """Set a variable or a secret; a running Space restarts."""
    space = _space(request)
    request.context.spaces.put_value(space, secret, *_value(request.json, secret))
    return _values(request, space, secret)


def delete_value(request: HubRequest, secret: bool) -> Response:
    """Delete a variable or a secret; a running Space restarts."""
    space, key = _space(request), str(request.json.get("key"))
    if not request.context.spaces.remove_value(space, secret, key):
        raise HubError(404, f"There is no {'secret' if secret else 'variable'} {key[:80]!r} to delete.")
    return _values(request, space, secret)


def described(runtime: Runtime) -> dict[str, Any]:
    """Return a Space's stage as clients read it."""
    current = runtime.flavor if runtime.stage in ACTIVE else None
    description: dict[str, Any] = {
        "stage": runtime.stage, "hardware": {"current": current, "requested": runtime.flavor},
        "gcTimeout": runtime.sleep, "devMode": False,
    }  # fmt: skip
    return description | ({"errorMessage": runtime.message} if runtime.message else {})


def initial_values(body: dict[str, Any]) -> list[tuple[bool, str, str, str | None]]:
    """Return (secret, key, value, description) of the values that a Space is created with; 400."""
    rows = []
    for secret, name in ((False, "variables"), (True, "secrets")):
        rows += [(secret, *_value(value, secret)) for value in objects(body, name, job_spec.NAMES)]
    return rows


def _value(body: dict[str, Any], secret: bool) -> tuple[str, str, str | None]:
    kind, description = "secret" if secret else "variable", body.get("description")
    ((key, value),) = job_spec.variables({str(body.get("key")): body.get("value")}, kind).items()
    if description is not None and (not isinstance(description, str) or len(description) > DESCRIPTION):
        raise HubError(400, f"description should be text of at most {DESCRIPTION} characters.")
    return key, value, description


def _space(request: HubRequest, need: Literal["read", "write"] = "write") -> int:
    if need == "write":
        request.caller()
    return request.find_repository("spaces", request.param("namespace"), request.param("name"), need).row.id


def _runtime(request: HubRequest, space: int) -> Response:
    return JSONResponse(described(request.context.spaces.runtime(space)))


def _values(request: HubRequest, space: int, secret: bool) -> Response:
    answer = {}
    for row in request.context.spaces.values(space, secret):
        description = {"key": row.key, "description": row.description, "updatedAt": row.updated}
        answer[row.key] = description if secret else description | {"value": row.value}
    return JSONResponse(answer)


_SPACE = "/api/spaces/{namespace}/{name}"


def _value_routes(name: str, secret: bool) -> list[Route]:
    path = f"{_SPACE}/{name}"
    return [
        route("GET", path, lambda request: list_values(request, secret)),
        route("POST", path, lambda request: put_value(request, secret)),
        route("DELETE", path, lambda request: delete_value(request, secret)),
    ]


ROUTES = [
    route("GET", f"{_SPACE}/runtime", runtime),
    route("POST", f"{_SPACE}/restart", restart),
    route("POST", f"{_SPACE}/pause", pause),
    route("POST", f"{_SPACE}/hardware", hardware),
    route("POST", f"{_SPACE}/sleeptime", sleep_time),
    route("GET", f"{_SPACE}/logs/{{oid}}", logs),
    *_value_routes("variables", secret=False),
    *_value_routes("secrets", secret=True),
]
