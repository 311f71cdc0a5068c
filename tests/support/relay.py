"""The Space permix-relay, and messages to it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import HfApi

from tests.support.scripted_github import TOKEN, GitHub
from tests.support.spaces import serve

SECRET = "a secret of the webhook"


@contextmanager
def relay(api: HfApi, github: GitHub, folder: Path, *watched: str, **more: str) -> Iterator[str]:
    """The Space, watching; its address."""
    folder.mkdir(exist_ok=True)
    own = {"WEBHOOK_SECRET": SECRET, "PERMIX_WATCHED": " ".join(watched), "GITHUB_REPOSITORY": "lab/permix"}
    own |= {"GITHUB_API_URL": github.url, "GITHUB_TOKEN": TOKEN, "GRADIO_SERVER_NAME": "127.0.0.1"}
    own |= {"HF_ENDPOINT": str(api.endpoint), "HF_TOKEN": str(api.token), "RELAY_STATE": str(folder / "relay.db")}
    with serve("permix-relay", folder, **own | more) as address:
        yield address


def send(address: str, body: Any, secret: str = SECRET) -> tuple[int, dict[str, Any]]:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=30)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.request("POST", "/webhook", data, {"X-Webhook-Secret": secret})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def state(address: str) -> dict[str, Any]:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=30)
    connection.request("GET", "/")
    reply = json.loads(connection.getresponse().read())
    connection.close()
    return dict(reply)
