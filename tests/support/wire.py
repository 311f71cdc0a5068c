"""Plain HTTP to an embedded Hub. Needs nothing of permix."""

import json
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from embedded_hub import launch

PIPELINES = Path(launch.__file__).resolve().parents[1]


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Wire:
    """Raw HTTP requests, also malformed ones."""

    port: int
    token: str | None

    @classmethod
    def to(cls, hub: launch.Running) -> "Wire":
        """Requests with the token of the local administrator."""
        return cls(int(hub.url.rsplit(":", 1)[1]), hub.token)

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path.replace("http://127.0.0.1:" + str(self.port), ""), data, sent)
            response = connection.getresponse()
            headers = {key.lower(): value for key, value in response.getheaders()}
            return Answer(response.status, response.read(), headers)
        finally:
            connection.close()
