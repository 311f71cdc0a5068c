"""Failures: a request that is refused over HTTP, and a server that cannot start."""

import secrets
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.responses import Response


class ServerError(Exception):
    """The server cannot start or does not answer; the message is one sentence. Exit code 1."""

    exit_code = 1


class BadOption(ServerError):
    """An option of the command is wrong. Exit code 2."""

    exit_code = 2


class HubError(Exception):
    """The refusal of a request: a status, one sentence, and the code by which clients choose their exception."""

    def __init__(self, status: int, message: str, code: str = "", headers: dict[str, str] | None = None, **fields: Any):
        message = message.encode(errors="replace").decode()  # it may quote a lone surrogate
        super().__init__(message)
        self.status, self.message, self.code, self.headers, self.fields = status, message, code, headers or {}, fields

    def response(self) -> "Response":
        """Return the refusal as clients of the Hub expect it."""
        from starlette.responses import JSONResponse

        plain = "".join(character if " " <= character <= "~" else "?" for character in self.message)
        headers = {"X-Error-Message": plain, "X-Request-Id": secrets.token_hex(8), **self.headers}
        if self.code:
            headers["X-Error-Code"] = self.code
        return JSONResponse({"error": self.message, **self.fields}, self.status, headers)
