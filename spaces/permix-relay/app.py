"""Receives webhooks of the Hub and starts the evaluation of an adapter on GitHub when its weights have changed."""

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
"""Bytes of a webhook's body; real ones have a few thousand."""
PER_MINUTE = 120
"""Webhooks that are looked at; what comes above that is sent away unread, and the Hub sends it again."""


class Budget:
    """`per_minute` calls a minute, of which as many may come at once."""

    def __init__(self, per_minute: int) -> None:
        self._most, self._left, self._seen = per_minute, float(per_minute), time.monotonic()

    def take(self) -> bool:
        """Whether there is one left."""
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._seen) * self._most / 60)
        self._seen = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def required(name: str) -> str:
    """A variable of this Space; without it the Space does not start."""
    value = os.environ.get(name, "").strip()
    if not value:
        sys.exit(f"permix-relay: the variable or secret {name} is not set; README.md says what it is.")
    return value


def make() -> Starlette:
    """The app, as the environment says."""
    secret = required("WEBHOOK_SECRET").encode()
    if len(secret) < 16:
        sys.exit("permix-relay: WEBHOOK_SECRET has less than 16 characters: anybody could guess it.")
    watched = tuple(dict.fromkeys(required("PERMIX_WATCHED").replace(",", " ").split()))
    github = os.environ.get("GITHUB_API_URL", "https://api.github.com").rstrip("/")
    disk = Path("/data") if Path("/data").is_dir() else Path.cwd()
    outbox = Outbox(Path(os.environ.get("RELAY_STATE", disk / "relay.db")), watched)
    adapters = Adapters(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), os.environ.get("HF_TOKEN"))
    dispatcher = Dispatcher(outbox, adapters, github, required("GITHUB_REPOSITORY"), required("GITHUB_TOKEN"))
    budget = Budget(int(os.environ.get("RELAY_PER_MINUTE", str(PER_MINUTE))))

    async def webhook(request: Request) -> JSONResponse:
        """A webhook: only which repository it is about counts."""
        if not hmac.compare_digest(request.headers.get("x-webhook-secret", "").encode(), secret):
            return answer(401, "the secret is not this Space's")
        if not budget.take():  # after the secret: strangers must not use it up
            return answer(429, "too many webhooks; send it again", {"Retry-After": "10"})
        body = await read(request)
        if body is None:
            return answer(413, f"a webhook has at most {LARGEST} bytes")
        adapter = about(body)
        if adapter is None:
            return answer(400, "this is no webhook of the Hub")
        if adapter not in watched:
            return answer(200, "not watched")
        await asyncio.to_thread(outbox.want, adapter)  # on the disk before the Hub hears that all is well
        dispatcher.wake()
        return answer(202, "looking at it")

    async def state(_: Request) -> JSONResponse:
        """What is watched, what was sent on, what waits."""
        return JSONResponse({"watched": await asyncio.to_thread(outbox.state), "github": dispatcher.said})

    @contextlib.asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        for adapter in watched:  # what was pushed while nobody listened
            outbox.want(adapter)
        dispatcher.start()
        yield
        dispatcher.stop()

    routes = [Route("/", state), Route("/webhook", webhook, methods=["POST"])]
    return Starlette(routes=routes, lifespan=running)


async def read(request: Request) -> bytes | None:
    """The body; None where it is too long, of which no more is read."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST:
            return None
    return body


def about(body: bytes) -> str | None:
    """The model that a webhook is about, "" where it is about something else; None where it is no webhook."""
    try:
        told = json.loads(body)
        scope, kind, name = told["event"]["scope"], told["repo"]["type"], told["repo"]["name"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not all(isinstance(one, str) for one in (scope, kind, name)):
        return None
    return name if kind == "model" and scope.startswith("repo") else ""


def answer(status: int, said: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """One sentence as JSON."""
    return JSONResponse({"said": said}, status, headers)


if __name__ == "__main__":
    where = os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0"), int(os.environ.get("GRADIO_SERVER_PORT", "7860"))  # noqa: S104
    server = uvicorn.Server(uvicorn.Config(make(), log_level="warning"))
    with socket.create_server(where, backlog=256) as listening:
        print("* Running on local URL:  http://{}:{}".format(*where), flush=True)
        server.run([listening])
