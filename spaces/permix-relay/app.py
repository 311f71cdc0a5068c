"""Receive webhooks of the Hub and start the evaluation of an adapter on GitHub when its weights change."""

import asyncio
import contextlib
import hmac
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from outbox import Adapters, Dispatcher, Outbox
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

LARGEST = 1 << 20
"""Bytes of a webhook's body; a real one has a few thousand."""
PER_MINUTE = 120
"""Webhooks read per minute; the others are refused unread, and the Hub sends them again."""


class Budget:
    """At most `per_minute` calls a minute, all of which may come at once."""

    def __init__(self, per_minute: int) -> None:
        self._most, self._left, self._seen = per_minute, float(per_minute), time.monotonic()

    def take(self) -> bool:
        """Use one call; return False if none is left."""
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._seen) * self._most / 60)
        self._seen = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def required(name: str) -> str:
    """Return a variable of this Space; exit if it is not set."""
    value = os.environ.get(name, "").strip()
    if not value:
        sys.exit(f"permix-relay: the variable or secret {name} is not set; README.md describes it.")
    return value


def make() -> Starlette:
    """Return the app with the settings of the environment."""
    secret = required("WEBHOOK_SECRET").encode()
    if len(secret) < 16:
        sys.exit("permix-relay: WEBHOOK_SECRET has less than 16 characters: choose a longer one.")
    watched = tuple(dict.fromkeys(required("PERMIX_WATCHED").replace(",", " ").split()))
    github = os.environ.get("GITHUB_API_URL", "https://api.github.com").rstrip("/")
    disk = Path("/data") if Path("/data").is_dir() else Path.cwd()
    outbox = Outbox(Path(os.environ.get("RELAY_STATE", disk / "relay.db")), watched)
    adapters = Adapters(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), os.environ.get("HF_TOKEN"))
    dispatcher = Dispatcher(outbox, adapters, github, required("GITHUB_REPOSITORY"), required("GITHUB_TOKEN"))
    budget = Budget(int(os.environ.get("RELAY_PER_MINUTE", str(PER_MINUTE))))

    async def webhook(request: Request) -> JSONResponse:
        """Receive a webhook; only the name of its repository is used."""
        if not hmac.compare_digest(request.headers.get("x-webhook-secret", "").encode(), secret):
            return answer(401, "wrong secret")
        if not budget.take():  # after the secret: strangers cannot use it up
            return answer(429, "too many webhooks; send it again", {"Retry-After": "10"})
        body = await read(request)
        if body is None:
            return answer(413, f"a webhook has at most {LARGEST} bytes")
        adapter = about(body)
        if adapter is None:
            return answer(400, "not a webhook of the Hub")
        if adapter not in watched:
            return answer(200, "not watched")
        await asyncio.to_thread(outbox.want, adapter)  # on the disk before the Hub gets its answer
        dispatcher.wake()
        return answer(202, "accepted")

    async def state(_: Request) -> JSONResponse:
        """Return the watched adapters, their last dispatches and the pending ones."""
        return JSONResponse({"watched": await asyncio.to_thread(outbox.state), "github": dispatcher.status})

    @contextlib.asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        for adapter in watched:  # pushed before this start
            outbox.want(adapter)
        dispatcher.start()
        yield
        dispatcher.stop()

    routes = [Route("/", state), Route("/webhook", webhook, methods=["POST"])]
    return Starlette(routes=routes, lifespan=running)


async def read(request: Request) -> bytes | None:
    """Return the body; None if it is longer than LARGEST."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST:
            return None
    return body


def about(body: bytes) -> str | None:
    """Return the model of a webhook, "" if its subject is something else, None if it is not a webhook."""
    try:
        webhook = json.loads(body)
        scope, kind, name = webhook["event"]["scope"], webhook["repo"]["type"], webhook["repo"]["name"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not all(isinstance(field, str) for field in (scope, kind, name)):
        return None
    return name if kind == "model" and scope.startswith("repo") else ""


def answer(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """One sentence as JSON."""
    return JSONResponse({"said": sentence}, status, headers)


if __name__ == "__main__":
    address = os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0"), int(os.environ.get("GRADIO_SERVER_PORT", "7860"))  # noqa: S104
    server = uvicorn.Server(uvicorn.Config(make(), log_level="warning"))
    with socket.create_server(address, backlog=256) as listening:
        print("* Running on local URL:  http://{}:{}".format(*address), flush=True)
        server.run([listening])
