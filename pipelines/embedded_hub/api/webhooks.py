"""Webhooks: make, list, change, switch off, delete them, and see what was delivered."""

from dataclasses import asdict, replace
from typing import Any

from starlette.responses import JSONResponse, Response

from embedded_hub.compute import job_spec
from embedded_hub.database.accounts import new_id
from embedded_hub.database.webhooks import DOMAINS, Webhook
from embedded_hub.errors import HubError
from embedded_hub.events import announce
from embedded_hub.events.deliver import NotAllowed, check_target
from embedded_hub.request import Call
from embedded_hub.routing import route

WATCHED = ("user", "org", "model", "dataset", "space")
MOST, MOST_WATCHED, SECRET, URL = 100, 100, 1000, 2000
"""Webhooks of one user, things that one watches, characters of a secret and of an address."""


def listing(call: Call) -> Response:
    """The caller's webhooks."""
    return JSONResponse([_described(one) for one in call.hub.webhooks.all(call.who().user)])


def create(call: Call) -> Response:
    """Make a webhook."""
    me = call.who()
    if len(call.hub.webhooks.all(_writer(call))) >= MOST:
        raise HubError(400, f"{me.user} has {MOST} webhooks, which is the most: delete one first.")
    empty = Webhook(new_id(), me.user, me.role, None, None, (), DOMAINS, None, False)
    return _put(call, _changed(call, empty))


def details(call: Call) -> Response:
    """One webhook."""
    return JSONResponse({"webhook": _described(_the(call))})


def change(call: Call) -> Response:
    """Change a webhook; what is not said stays."""
    return _put(call, _changed(call, _the(call, write=True)))


def enable(call: Call) -> Response:
    """Switch it on; what happened while it was off is not delivered."""
    return _put(call, replace(_the(call, write=True), disabled=False))


def disable(call: Call) -> Response:
    """Switch it off."""
    return _put(call, replace(_the(call, write=True), disabled=True))


def delete(call: Call) -> Response:
    """Delete a webhook."""
    call.hub.webhooks.remove(_the(call, write=True))
    return JSONResponse({})


def deliveries(call: Call) -> Response:
    """What it was sent or waits to be, the newest first; the embedded Hub only."""
    return JSONResponse([asdict(one) for one in call.hub.webhooks.deliveries(_the(call))])


def _put(call: Call, one: Webhook) -> Response:
    if not one.watched or not (one.url or one.job):
        raise HubError(400, "A webhook needs something that it watches, and a url or a jobSourceId.")
    announce.begin(call.hub, one)
    call.hub.webhooks.put(one)
    return JSONResponse({"webhook": _described(one)})


def _writer(call: Call) -> str:
    if call.who().role == "read":
        raise HubError(403, f"The token {call.who().token_name!r} may only read.")
    return call.who().user


def _the(call: Call, write: bool = False) -> Webhook:
    one = call.hub.webhooks.find(call.param("oid"))
    if one is None or one.owner.lower() != call.who().user.lower():
        raise HubError(404, f"{call.who().user} has no webhook {call.param('oid')[:40]!r}.")
    if write:
        _writer(call)
    return one


def _changed(call: Call, old: Webhook) -> Webhook:
    """The webhook with what the body says."""
    wanted = call.json
    one = replace(
        old,
        watched=_watched(wanted["watched"]) if wanted.get("watched") else old.watched,
        domains=_domains(wanted["domains"]) if wanted.get("domains") is not None else old.domains,
        secret=_text(wanted, "secret", SECRET) if wanted.get("secret") is not None else old.secret,
    )
    if wanted.get("url") is not None:
        url = _text(wanted, "url", URL)
        try:
            check_target(url, call.hub.allowed)
        except NotAllowed as error:
            raise HubError(400, str(error)) from None
        return replace(one, url=url, job=None)
    if wanted.get("jobSourceId") is not None:
        job = call.hub.jobs.find(str(wanted["jobSourceId"]))
        if job is None or not call.who().may_write(job.namespace):
            raise HubError(404, f"There is no job {str(wanted['jobSourceId'])[:40]!r} that this token may start.")
        secrets = job.spec["secrets"] | job_spec.variables(wanted.get("secrets"), "secrets")
        return replace(one, url=None, job={"namespace": job.namespace, "spec": job.spec | {"secrets": secrets}})
    return one


def _watched(found: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(found, list) or len(found) > MOST_WATCHED or not all(isinstance(one, dict) for one in found):
        raise HubError(400, f"watched should be a list of at most {MOST_WATCHED} objects with type and name.")
    pairs = tuple((str(one.get("type")), str(one.get("name"))) for one in found)
    for type_, name in pairs:
        if type_ not in WATCHED:
            raise HubError(400, f"The embedded Hub watches {', '.join(WATCHED)}, no {type_[:40]!r}.")
        if name.count("/") != (type_ not in ("user", "org")) or len(name) > 200:
            raise HubError(400, f"{name[:80]!r} names no {type_}.")
    return pairs


def _domains(found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or not found or any(one not in DOMAINS for one in found):
        raise HubError(400, f"domains should be a list of {' and '.join(DOMAINS)}.")
    return tuple(dict.fromkeys(found))


def _text(wanted: dict[str, Any], key: str, most: int) -> str:
    value = wanted[key]
    if not isinstance(value, str) or len(value) > most or not value.isascii() or not value.isprintable():
        raise HubError(400, f"{key} should be text of at most {most} printable ASCII characters.")
    return value


def _described(one: Webhook) -> dict[str, Any]:
    """What is told of it: never its secret."""
    watched = [{"type": type_, "name": name} for type_, name in one.watched]
    known: dict[str, Any] = {"id": one.id, "watched": watched, "domains": list(one.domains), "disabled": one.disabled}
    return known | ({"job": job_spec.described(one.job["spec"])} if one.job else {"url": one.url})


_ONE = "/api/settings/webhooks/{oid}"
ROUTES = [
    route("GET", "/api/settings/webhooks", listing),
    route("POST", "/api/settings/webhooks", create),
    route("GET", _ONE, details),
    route("POST", _ONE, change),
    route("DELETE", _ONE, delete),
    route("POST", f"{_ONE}/enable", enable),
    route("POST", f"{_ONE}/disable", disable),
    route("GET", f"{_ONE}/deliveries", deliveries),
]
