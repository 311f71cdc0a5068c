"""Deliver events to webhooks: over HTTP to their address, or to the Job that they start."""

import http.client
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from ipaddress import ip_address
from threading import Lock
from urllib.parse import urlsplit

from embedded_hub.context import Allowed, ServerContext, Worker, log
from embedded_hub.database.webhooks import Delivery, Webhook
from embedded_hub.events import announce

SECONDS = 15
"""Time limit for the target's answer."""
AT_ONCE = 8
IDLE = 30.0


class NotAllowed(ValueError):
    """This server may not call the webhook's address; the message is a whole sentence."""


def check_target(url: str, allowed: Allowed) -> None:
    """Raise NotAllowed unless `url` is http(s) to this machine or to a host of `allowed`."""
    invalid = NotAllowed(f"{url[:200]!r} is not an address of a webhook: http://127.0.0.1:PORT/path is expected.")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise invalid from None
    printable = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not host or not printable or parts.username is not None:
        raise invalid
    if not _loopback(host) and not {host, f"{host}:{port}"} & allowed.webhook_hosts:
        advice = f"start it with `--webhooks-to {host}` (`permix hub serve --webhooks-to {host}`) to allow that"
        raise NotAllowed(f"The embedded Hub calls webhooks on this machine only, not on {host}: {advice}.")


class WebhookDeliverer(Worker):
    """Deliver due events. Interrupted deliveries are repeated: at least once, perhaps twice."""

    def __init__(self, context: ServerContext, start_job: Callable[[Webhook, Delivery], str]) -> None:
        super().__init__("webhooks", context, context.webhooks.waiting)
        self._start_job, self._pool = start_job, ThreadPoolExecutor(AT_ONCE, "webhook")
        self._in_flight: set[int] = set()
        self._lock = Lock()

    def run(self) -> None:
        """Deliver; at the end, wait for the deliveries in flight."""
        with self._pool:
            self._guarded(lambda: announce.catch_up(self._context))
            super().run()

    def step(self) -> float:
        """Begin the due deliveries."""
        for delivery in self._context.webhooks.due():
            with self._lock:
                if delivery.id in self._in_flight or len(self._in_flight) >= AT_ONCE:
                    continue
                self._in_flight.add(delivery.id)
            self._pool.submit(self._attempt, delivery)
        due = self._context.webhooks.next_due()
        with self._lock:
            busy = bool(self._in_flight)
        # a delivery in flight may still count as due; its end wakes this thread
        return IDLE if due is None or busy else min(max(due - time.time(), 0.01), IDLE)

    def _attempt(self, delivery: Delivery) -> None:
        try:
            self._guarded(lambda: self._deliver(delivery))
        finally:
            with self._lock:
                self._in_flight.discard(delivery.id)
            self._context.database.close()
            self._context.webhooks.waiting.set()

    def _deliver(self, delivery: Delivery) -> None:
        webhooks = self._context.webhooks
        webhook = webhooks.find(delivery.webhook)
        if webhook is None:
            return
        try:
            if webhook.disabled:
                webhooks.refused(delivery, "the webhook is disabled")
            elif webhook.url is None:
                with self._context.database.transaction():  # the Job and the record of its start appear together
                    webhooks.delivered(delivery, self._start_job(webhook, delivery))
            else:
                answer = _post(webhook.url, webhook.secret, delivery.body, self._context.allowed)
                webhooks.delivered(delivery, answer)
        except (OSError, http.client.HTTPException, _Refused, ValueError) as error:
            webhooks.refused(delivery, f"{type(error).__name__}: {error}".removeprefix("_Refused: ")[:500])

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:
            log.exception("delivering webhooks failed")
            time.sleep(1)


class _Refused(Exception):
    """The target's answer was not a success."""


def _post(url: str, secret: str | None, body: str, allowed: Allowed) -> str:
    check_target(url, allowed)  # this server may have been started with fewer hosts than the one before
    parts = urlsplit(url)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {"Content-Type": "application/json", "User-Agent": "permix-embedded-hub"}
    if secret is not None:
        headers["X-Webhook-Secret"] = secret
    with closing(connect(parts.hostname or "", parts.port, timeout=SECONDS)) as connection:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, body.encode(), headers)
        answer = connection.getresponse()
        if not 200 <= answer.status < 300:  # a redirect might lead anywhere
            raise _Refused(f"HTTP {answer.status}")
        return f"HTTP {answer.status}"


def job_environment(webhook: Webhook, body: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the variables and the secrets that a webhook's Job gets for the event `body`."""
    repo = json.loads(body)["repo"]
    variables = {"WEBHOOK_PAYLOAD": body, "WEBHOOK_REPO_ID": repo["name"], "WEBHOOK_REPO_TYPE": repo["type"]}
    return variables, {"WEBHOOK_SECRET": webhook.secret} if webhook.secret is not None else {}


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
