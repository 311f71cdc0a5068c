"""Spaces that run: start and pause them, their variables and secrets, their logs."""

from typing import Any, Literal

from starlette.responses import JSONResponse, Response

from embedded_hub.compute import job_runner, job_spec
from embedded_hub.compute.log_stream import event_stream
from embedded_hub.database.spaces import WANTED, Runtime
from embedded_hub.errors import HubError
from embedded_hub.request import Call, Here
from embedded_hub.routing import route

DESCRIPTION = 1000
"""Most characters."""


def runtime(call: Call) -> Response:
    """How far the Space is."""
    return _answer(call, _space(call, "read"))


def restart(call: Call) -> Response:
    """Start it, or start it anew."""
    job_runner.check_allowed(call.hub)
    here = _space(call)
    call.hub.spaces.start(here.row.id)
    return _answer(call, here)


def pause(call: Call) -> Response:
    """End it."""
    here = _space(call)
    call.hub.spaces.end(here.row.id, "PAUSED")
    return _answer(call, here)


def hardware(call: Call) -> Response:
    """Ask for other hardware; here it is noted only."""
    here, flavor = _space(call), call.json.get("flavor")
    if flavor not in job_spec.FLAVORS:
        raise HubError(400, f"There is no flavor {str(flavor)[:40]!r}: it is one of {', '.join(job_spec.FLAVORS)}.")
    call.hub.spaces.set_flavor(here.row.id, flavor)
    return _answer(call, here)


def sleep_time(call: Call) -> Response:
    """Ask it to sleep when nobody uses it; here it is noted only."""
    here, seconds = _space(call), call.json.get("seconds")
    if type(seconds) is not int or not -1 <= seconds <= 1 << 31:
        raise HubError(400, "seconds should be a whole number, or -1 for never.")
    call.hub.spaces.set_sleep(here.row.id, seconds)
    return _answer(call, here)


def logs(call: Call) -> Response:
    """What the app prints; what there is to say of its start, which is little, for nothing is built here."""
    here = _space(call)
    if call.param("oid") not in ("run", "build"):
        raise HubError(404, f"There is no log {call.param('oid')[:40]!r}: run and build are.")
    spaces, repo, run = call.hub.spaces, here.row.id, call.param("oid") == "run"
    log = spaces.folder(repo) / ("log" if run else "build")
    return event_stream(log, lambda: not run or spaces.runtime(repo).stage not in WANTED)


def variables(call: Call) -> Response:
    """The variables."""
    return _values(call, _space(call), secret=False)


def secrets(call: Call) -> Response:
    """The secrets' names."""
    return _values(call, _space(call), secret=True)


def put_variable(call: Call) -> Response:
    """Set a variable; the Space starts anew when it runs."""
    return _put(call, secret=False)


def put_secret(call: Call) -> Response:
    """Set a secret; the Space starts anew when it runs."""
    return _put(call, secret=True)


def delete_variable(call: Call) -> Response:
    """Strike out a variable."""
    return _delete(call, secret=False)


def delete_secret(call: Call) -> Response:
    """Strike out a secret."""
    return _delete(call, secret=True)


def described(one: Runtime) -> dict[str, Any]:
    """How far a Space is, as clients read it."""
    current = one.flavor if one.stage in WANTED else None
    known: dict[str, Any] = {"stage": one.stage, "hardware": {"current": current, "requested": one.flavor}}
    known |= {"gcTimeout": one.sleep, "devMode": False}
    return known | ({"errorMessage": one.message} if one.message else {})


def initial_values(wanted: dict[str, Any]) -> list[tuple[bool, str, str, str | None]]:
    """Whether secret, key, value, description of what a Space is created with; 400."""
    found = []
    for secret, name in ((False, "variables"), (True, "secrets")):
        values = wanted.get(name) or []
        if not isinstance(values, list) or not all(isinstance(one, dict) for one in values):
            raise HubError(400, f"{name} should be a list of objects with key and value.")
        found += [(secret, *_value(one, secret)) for one in values]
    return found


def _value(wanted: dict[str, Any], secret: bool) -> tuple[str, str, str | None]:
    kind, description = "secret" if secret else "variable", wanted.get("description")
    ((key, value),) = job_spec.variables({str(wanted.get("key")): wanted.get("value")}, kind).items()
    if description is not None and (not isinstance(description, str) or len(description) > DESCRIPTION):
        raise HubError(400, f"description should be text of at most {DESCRIPTION} characters.")
    return key, value, description


def _space(call: Call, need: Literal["read", "write"] = "write") -> Here:
    if need == "write":
        call.who()
    return call.find("spaces", call.param("namespace"), call.param("name"), need)


def _answer(call: Call, here: Here) -> Response:
    return JSONResponse(described(call.hub.spaces.runtime(here.row.id)))


def _values(call: Call, here: Here, secret: bool) -> Response:
    found = {}
    for one in call.hub.spaces.values(here.row.id, secret):
        about = {"key": one.key, "description": one.description, "updatedAt": one.updated}
        found[one.key] = about if secret else about | {"value": one.value}
    return JSONResponse(found)


def _put(call: Call, secret: bool) -> Response:
    here = _space(call)
    call.hub.spaces.put_value(here.row.id, secret, *_value(call.json, secret))
    return _values(call, here, secret)


def _delete(call: Call, secret: bool) -> Response:
    here, key = _space(call), str(call.json.get("key"))
    if not call.hub.spaces.remove_value(here.row.id, secret, key):
        raise HubError(404, f"There is no {'secret' if secret else 'variable'} {key[:80]!r} to delete.")
    return _values(call, here, secret)


_SPACE = "/api/spaces/{namespace}/{name}"
ROUTES = [
    route("GET", f"{_SPACE}/runtime", runtime),
    route("POST", f"{_SPACE}/restart", restart),
    route("POST", f"{_SPACE}/pause", pause),
    route("POST", f"{_SPACE}/hardware", hardware),
    route("POST", f"{_SPACE}/sleeptime", sleep_time),
    route("GET", f"{_SPACE}/logs/{{oid}}", logs),
    route("GET", f"{_SPACE}/variables", variables),
    route("POST", f"{_SPACE}/variables", put_variable),
    route("DELETE", f"{_SPACE}/variables", delete_variable),
    route("GET", f"{_SPACE}/secrets", secrets),
    route("POST", f"{_SPACE}/secrets", put_secret),
    route("DELETE", f"{_SPACE}/secrets", delete_secret),
]
