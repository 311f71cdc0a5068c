"""Carries what webhooks are to be told: over HTTP to their address, or to the Job that they start."""

import http.client
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from threading import Lock, Thread
from urllib.parse import urlsplit

from embedded_hub.context import Allowed, Hub, log
from embedded_hub.database.webhooks import Delivery, Webhook
from embedded_hub.events import announce

SECONDS = 15
"""That a target has to answer."""
AT_ONCE = 8
IDLE = 30.0


class NotAllowed(ValueError):
    """A webhook's address is none that this server calls; the message is a whole sentence."""


def check_target(url: str, allowed: Allowed) -> None:
    """NotAllowed unless `url` is http(s) to this machine or to a host named at the start of the server."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise NotAllowed(f"{url[:200]!r} is no address: http://127.0.0.1:PORT/path is expected.") from None
    printable = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not host or not printable or parts.username is not None:
        raise NotAllowed(f"{url[:200]!r} is no address: http://127.0.0.1:PORT/path is expected.")
    if not _loopback(host) and not {host, f"{host}:{port}"} & allowed.webhook_hosts:
        advice = f"start it with `permix hub serve --webhooks-to {host}` to allow that"
        raise NotAllowed(f"The embedded Hub calls webhooks on this machine only, not on {host}: {advice}.")


class Courier(Thread):
    """Delivers what is due until `stop`. What a kill interrupts is sent again: at least once, perhaps twice."""

    def __init__(self, hub: Hub, start_job: Callable[[Webhook, Delivery], str]) -> None:
        super().__init__(name="webhooks", daemon=True)
        self._hub, self._start_job = hub, start_job
        self._stopping = False
        self._flying: set[int] = set()
        self._lock = Lock()

    def run(self) -> None:
        """Deliver."""
        waiting = self._hub.webhooks.waiting
        with ThreadPoolExecutor(AT_ONCE, "webhook") as pool:
            self._guarded(lambda: announce.catch_up(self._hub))
            while not self._stopping:
                waiting.clear()
                self._guarded(lambda: self._send_due(pool))
                waiting.wait(self._pause())

    def stop(self) -> None:
        """End after what is on its way."""
        self._stopping = True
        self._hub.webhooks.waiting.set()

    def _send_due(self, pool: ThreadPoolExecutor) -> None:
        for one in self._hub.webhooks.due():
            with self._lock:
                if one.id in self._flying or len(self._flying) >= AT_ONCE:
                    continue
                self._flying.add(one.id)
            pool.submit(self._carry, one)

    def _pause(self) -> float:
        due = self._hub.webhooks.next_due()
        with self._lock:
            busy = bool(self._flying)
        # what flies may be due still; its end wakes this thread
        return IDLE if due is None or busy else min(max(due - time.time(), 0.01), IDLE)

    def _carry(self, one: Delivery) -> None:
        try:
            self._guarded(lambda: self._deliver(one))
        finally:
            with self._lock:
                self._flying.discard(one.id)
            self._hub.accounts.close()
            self._hub.webhooks.waiting.set()

    def _deliver(self, one: Delivery) -> None:
        webhook = self._hub.webhooks.find(one.webhook)
        if webhook is None:
            return
        try:
            if webhook.disabled:
                self._hub.webhooks.refused(one, "the webhook is disabled")
            elif webhook.url is None:
                with self._hub.accounts.transaction():  # the Job and the note that it was started are one
                    self._hub.webhooks.delivered(one, self._start_job(webhook, one))
            else:
                self._hub.webhooks.delivered(one, _post(webhook.url, webhook.secret, one.body, self._hub.allowed))
        except (OSError, http.client.HTTPException, _Refused, ValueError) as error:
            self._hub.webhooks.refused(one, f"{type(error).__name__}: {error}".removeprefix("_Refused: ")[:500])

    def _guarded(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception:
            log.exception("delivering webhooks failed")
            time.sleep(1)


class _Refused(Exception):
    """The target answered with something else than success."""


def _post(url: str, secret: str | None, body: str, allowed: Allowed) -> str:
    check_target(url, allowed)  # this server may have been started with fewer hosts than the one before
    parts = urlsplit(url)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {"Content-Type": "application/json", "User-Agent": "permix-embedded-hub"}
    if secret is not None:
        headers["X-Webhook-Secret"] = secret
    connection = connect(parts.hostname or "", parts.port, timeout=SECONDS)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, body.encode(), headers)
        answer = connection.getresponse()
        if not 200 <= answer.status < 300:  # a redirect might lead anywhere
            raise _Refused(f"HTTP {answer.status}")
        return f"HTTP {answer.status}"
    finally:
        connection.close()


def environment(webhook: Webhook, body: str) -> tuple[dict[str, str], dict[str, str]]:
    """What a Job that a webhook starts finds in its environment, and which of it is secret."""
    repo = json.loads(body)["repo"]
    told = {"WEBHOOK_PAYLOAD": body, "WEBHOOK_REPO_ID": repo["name"], "WEBHOOK_REPO_TYPE": repo["type"]}
    return told, {"WEBHOOK_SECRET": webhook.secret} if webhook.secret is not None else {}


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
