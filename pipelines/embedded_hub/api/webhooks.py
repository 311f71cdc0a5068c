"""Webhooks: create, list, change, disable, delete them, and list their deliveries."""

from dataclasses import asdict, replace
from typing import Any

from starlette.responses import JSONResponse, Response

from embedded_hub.compute import job_spec
from embedded_hub.database.connection import new_id
from embedded_hub.database.webhooks import DOMAINS, Webhook
from embedded_hub.errors import HubError
from embedded_hub.events import announce
from embedded_hub.events.deliver import NotAllowed, check_target
from embedded_hub.request import HubRequest, objects
from embedded_hub.routing import route

WATCHED = ("user", "org", "model", "dataset", "space")
MOST, MOST_WATCHED, SECRET, URL = 100, 100, 1000, 2000
"""Most webhooks of a user, watched names of a webhook, characters of a secret and of an address."""


def listing(request: HubRequest) -> Response:
    """List the caller's webhooks."""
    return JSONResponse([_described(webhook) for webhook in request.context.webhooks.all(request.caller().user)])


def create(request: HubRequest) -> Response:
    """Create a webhook."""
    caller = request.writer()
    if len(request.context.webhooks.all(caller.user)) >= MOST:
        raise HubError(400, f"{caller.user} has {MOST} webhooks, which is the most: delete one first.")
    empty = Webhook(new_id(), caller.user, caller.role, None, None, (), DOMAINS, None, False)
    return _put(request, _changed(request, empty))


def details(request: HubRequest) -> Response:
    """Describe one webhook."""
    return JSONResponse({"webhook": _described(_find(request))})


def change(request: HubRequest) -> Response:
    """Change a webhook; omitted fields keep their values."""
    return _put(request, _changed(request, _find(request, write=True)))


def enable(request: HubRequest) -> Response:
    """Enable a webhook; events from the time when it was disabled are not delivered."""
    return _put(request, replace(_find(request, write=True), disabled=False))


def disable(request: HubRequest) -> Response:
    """Disable a webhook."""
    return _put(request, replace(_find(request, write=True), disabled=True))


def delete(request: HubRequest) -> Response:
    """Delete a webhook."""
    request.context.webhooks.remove(_find(request, write=True))
    return JSONResponse({})


def deliveries(request: HubRequest) -> Response:
    """List past and waiting deliveries, the newest first. The real Hub does not have this route."""
    return JSONResponse([asdict(delivery) for delivery in request.context.webhooks.deliveries(_find(request))])


def _put(request: HubRequest, webhook: Webhook) -> Response:
    if not webhook.watched or not (webhook.url or webhook.job):
        raise HubError(400, "A webhook needs watched repositories or owners, and a url or a jobSourceId.")
    announce.begin(request.context, webhook)
    request.context.webhooks.put(webhook)
    return JSONResponse({"webhook": _described(webhook)})


def _find(request: HubRequest, write: bool = False) -> Webhook:
    caller, id_ = request.caller(), request.param("oid")
    webhook = request.context.webhooks.find(id_)
    if webhook is None or webhook.owner.lower() != caller.user.lower():
        raise HubError(404, f"{caller.user} does not have a webhook {id_[:40]!r}.")
    if write:
        request.writer()
    return webhook


def _changed(request: HubRequest, old: Webhook) -> Webhook:
    body, context = request.json, request.context
    webhook = replace(
        old,
        watched=_watched(body) if body.get("watched") else old.watched,
        domains=_domains(body["domains"]) if body.get("domains") is not None else old.domains,
        secret=_text(body, "secret", SECRET) if body.get("secret") is not None else old.secret,
    )
    if body.get("url") is not None:
        url = _text(body, "url", URL)
        try:
            check_target(url, context.allowed)
        except NotAllowed as error:
            raise HubError(400, str(error)) from None
        return replace(webhook, url=url, job=None)
    if body.get("jobSourceId") is not None:
        job = context.jobs.find(str(body["jobSourceId"]))
        if job is None or not request.caller().may_write(job.namespace):
            raise HubError(404, f"There is no job {str(body['jobSourceId'])[:40]!r} that this token may start.")
        secrets = job.spec["secrets"] | job_spec.variables(body.get("secrets"), "secrets")
        return replace(webhook, url=None, job={"namespace": job.namespace, "spec": job.spec | {"secrets": secrets}})
    return webhook


def _watched(body: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    rows = objects(body, "watched", MOST_WATCHED)
    pairs = tuple((str(row.get("type")), str(row.get("name"))) for row in rows)
    for type_, name in pairs:
        if type_ not in WATCHED:
            raise HubError(400, f"The embedded Hub watches {', '.join(WATCHED)}, not {type_[:40]!r}.")
        if name.count("/") != (type_ not in ("user", "org")) or len(name) > 200:
            raise HubError(400, f"{name[:80]!r} is not the name of a {type_}.")
    return pairs


def _domains(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not names or any(name not in DOMAINS for name in names):
        raise HubError(400, f"domains should be a list of {' and '.join(DOMAINS)}.")
    return tuple(dict.fromkeys(names))


def _text(body: dict[str, Any], key: str, most: int) -> str:
    text = body[key]
    if not isinstance(text, str) or len(text) > most or not text.isascii() or not text.isprintable():
        raise HubError(400, f"{key} should be text of at most {most} printable ASCII characters.")
    return text


def _described(webhook: Webhook) -> dict[str, Any]:
    watched = [{"type": type_, "name": name} for type_, name in webhook.watched]
    target = {"job": job_spec.described(webhook.job["spec"])} if webhook.job else {"url": webhook.url}
    description = {"id": webhook.id, "watched": watched, "domains": list(webhook.domains), "disabled": webhook.disabled}
    return description | target


_WEBHOOK = "/api/settings/webhooks/{oid}"
ROUTES = [
    route("GET", "/api/settings/webhooks", listing),
    route("POST", "/api/settings/webhooks", create),
    route("GET", _WEBHOOK, details),
    route("POST", _WEBHOOK, change),
    route("DELETE", _WEBHOOK, delete),
    route("POST", f"{_WEBHOOK}/enable", enable),
    route("POST", f"{_WEBHOOK}/disable", disable),
    route("GET", f"{_WEBHOOK}/deliveries", deliveries),
]
