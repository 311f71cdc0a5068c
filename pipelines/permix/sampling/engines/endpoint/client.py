"""A client of OpenAI's chat completions: one try of one request, and the meaning of each failure."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx2
import openai

from permix.errors import BadInput, PermixError, nearest
from permix.sampling.engines.endpoint.dialect import Dialect
from permix.sampling.sampler import Endpoint, Request

CONNECT = 15.0
"""Seconds to wait for a connection."""
TOO_LONG = (
    r"context.{0,10}(length|window|size)|maximum (context|prompt|input|model) length|max_model_len|"
    r"(prompt|input|request).{0,40}(too long|too large|exceeds)|longer than the maximum"
)
NOT_SERVED = (
    r"model.{0,80}(not found|not exist|not available|not supported|unknown)|(unknown|invalid|no such) model|"
    r"server is pinned to"
)
NO_MONEY = r"insufficient.(quota|balance|funds)|exceeded your current quota|credit balance"


class Fault(Exception):
    """A failed try that is worth another one; `busy` when the server is overloaded.

    `wait`: seconds that the server asks for. `lost`: a completion may have been sampled and billed, but did not arrive.
    `learned`: the server refused a parameter that later tries omit.
    """

    def __init__(
        self, reason: str, *, busy: bool = False, wait: float = 0.0, lost: bool = False, learned: bool = False
    ) -> None:
        super().__init__(reason)
        self.busy, self.wait, self.lost, self.learned = busy, wait, lost, learned


class Refusal(Exception):
    """The server refuses this request at every try (a content filter on the prompt)."""


@dataclass(frozen=True)
class Reply:
    """The answer to a try; `counted` is False where the server reports no token counts."""

    text: str
    tokens_in: int
    tokens_out: int
    finish: Literal["stop", "length"]
    model: str
    counted: bool


class Client:
    """A connection pool to `endpoint`. Redirects are not followed, so that the key goes to that address alone.

    Only the key and, for hosts other than this machine, the proxy come from the environment.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        """Check address and key; BadInput where one is missing or malformed."""
        address = urlsplit(endpoint.url)
        if address.scheme not in ("http", "https") or not address.hostname or address.username:
            raise BadInput(
                f"The endpoint's url {_without_user(endpoint.url)!r} should be like https://host/v1, without a key."
            )
        self.endpoint, self.dialect = endpoint, Dialect(endpoint.model)
        self._key = _key(endpoint.key)
        self._name = f"{endpoint.model} at {endpoint.url}"
        n = endpoint.concurrency
        pool = httpx2.AsyncClient(
            timeout=httpx2.Timeout(endpoint.timeout, connect=min(CONNECT, endpoint.timeout), pool=None),
            limits=httpx2.Limits(max_connections=n, max_keepalive_connections=n),
            follow_redirects=False,
            trust_env=address.hostname not in ("localhost", "127.0.0.1", "::1"),
        )
        with _no_openai_variables():
            self._openai = openai.AsyncOpenAI(
                api_key=self._key or "none", base_url=endpoint.url, http_client=pool, max_retries=0
            )

    async def open(self) -> None:
        """Reach the server; BadInput where it does not answer or refuses the key. Not every server has /models."""
        try:
            await self._openai.get("/models", cast_to=httpx2.Response, options={"timeout": CONNECT})
        except openai.APIStatusError as error:
            if error.status_code in (401, 403) or error.response.is_redirect:
                raise self._failure(error, None, {}) from None
        except openai.APIConnectionError as error:  # a timeout too
            reason = self._clean(error.__cause__ or error)
            raise BadInput(
                f"{self.endpoint.url} does not answer ({reason}): is the server up, the url right?"
            ) from None

    async def ask(self, request: Request) -> Reply:
        """Try the request once; raises Fault where another try may succeed, Refusal, BadInput, or PermixError."""
        body = self.dialect.body(request)
        try:
            async with asyncio.timeout(self.endpoint.timeout):
                response = await self._openai.post("/chat/completions", cast_to=httpx2.Response, body=body)
        except TimeoutError:
            raise Fault(f"no whole reply within {self.endpoint.timeout:g} s", lost=True) from None
        except openai.NotFoundError as error:
            raise await self._not_served(error) from None
        except openai.APIError as error:
            raise self._failure(error, request, body) from None
        return self._reply(response)

    async def stream(self, request: Request) -> AsyncIterator[str]:
        """Yield the growing text of one completion; raises as `ask` does."""
        body = self.dialect.body(request)
        more: Any = {key: value for key, value in body.items() if key not in ("model", "messages")}
        messages: Any = request.messages
        text, finish = "", None
        try:
            async with await self._openai.chat.completions.create(
                model=self.endpoint.model, messages=messages, stream=True, extra_body=more
            ) as chunks:
                async for chunk in chunks:
                    for choice in chunk.choices[:1]:
                        text += choice.delta.content or choice.delta.refusal or ""
                        finish = choice.finish_reason or finish
                        yield text
        except openai.NotFoundError as error:
            raise await self._not_served(error) from None
        except openai.APIError as error:
            raise self._failure(error, request, body) from None
        except (httpx2.HTTPError, ValueError, AttributeError, TypeError) as error:
            raise Fault(f"a broken stream ({self._clean(error)})", lost=True) from None
        if finish is None:
            raise Fault("a stream without an end", lost=True)

    async def close(self) -> None:
        """Close the connections."""
        await self._openai.close()

    def _reply(self, response: httpx2.Response) -> Reply:
        try:
            whole = response.json()
            choice = whole["choices"][0]
            message, finish = choice["message"], choice["finish_reason"]
            text = message.get("content") or message.get("refusal") or ""
            if not isinstance(text, str) or finish == "error":
                raise ValueError
        except (ValueError, LookupError, TypeError, AttributeError):
            raise Fault(f"a reply that is not a completion ({self._clean(response.text[:80])})", lost=True) from None
        usage = whole.get("usage") or {}
        tokens_in, tokens_out = usage.get("prompt_tokens"), usage.get("completion_tokens")
        return Reply(
            text,
            tokens_in or 0,
            tokens_out or 0,
            "length" if finish == "length" else "stop",
            str(whole.get("model") or self.endpoint.model),
            isinstance(tokens_in, int) and isinstance(tokens_out, int),
        )

    def _failure(self, error: openai.APIError, request: Request | None, body: dict[str, Any]) -> Exception:
        """Return the error of ours for an error of the client."""
        if not isinstance(error, openai.APIStatusError):
            return Fault(f"a broken connection ({self._clean(error.__cause__ or error)})", lost=True)
        status, response = error.status_code, error.response
        details = error.body if isinstance(error.body, dict) else {}
        code, parameter = str(details.get("code") or details.get("type") or ""), str(details.get("param") or "")
        message = details.get("message") or details.get("detail") or response.text or response.reason_phrase
        message = self._clean(message)
        full_message = f"{code} {message}"
        if status == 402 or re.search(NO_MONEY, full_message, re.IGNORECASE):
            return PermixError(f"The account for {self._name} has no credit left ({message}): top it up and run again.")
        if status in (408, 409, 425, 429) or status >= 500:
            wait = _retry_after(response.headers)
            if wait > self.endpoint.timeout:
                return PermixError(
                    f"{self._name} asks to wait {wait:.0f} s ({message}): "
                    "run again later; finished completions are stored."
                )
            return Fault(f"status {status}: {message}", busy=status in (429, 503, 529), wait=wait)
        if status in (401, 403):
            refused = f"the key in {self.endpoint.key}" if self._key else "requests without a key: name its variable"
            return BadInput(f"{self.endpoint.url} refuses {refused} ({status}: {message}).")
        if response.is_redirect:
            location = _without_user(response.headers.get("location", "elsewhere"))
            return BadInput(f"{self.endpoint.url} redirects to {location}: if you trust it, give it as url.")
        if re.search(r"content.?(filter|policy)|invalid_prompt", full_message, re.IGNORECASE):
            return Refusal(message)
        if request and re.search(TOO_LONG, full_message, re.IGNORECASE):
            return BadInput(
                f"Request {request.id!r} with max_tokens {request.sampling.max_tokens} does not fit the context of "
                f"{self._name} ({message}): shorten it or lower max_tokens."
            )
        if self.dialect.learn(full_message, parameter, body):
            return Fault(message, learned=True)
        if re.search(NOT_SERVED, full_message, re.IGNORECASE):
            return BadInput(f"{self.endpoint.url} does not serve {self.endpoint.model!r} ({message}).")
        return BadInput(f"{self._name} refuses request {request.id if request else '/models'!r} ({status}: {message}).")

    async def _not_served(self, error: openai.NotFoundError) -> BadInput:
        """Return the error for a 404, with the models that the server lists."""
        try:
            listed = await self._openai.get("/models", cast_to=httpx2.Response, options={"timeout": CONNECT})
            known = nearest(self.endpoint.model, [str(m["id"]) for m in listed.json()["data"]][:50])
        except (openai.APIError, ValueError, LookupError, TypeError):
            known = f"it said {self._clean(error.response.text)!r}; most urls end in /v1."
        return BadInput(f"{self.endpoint.url} does not serve {self.endpoint.model!r}: {known}")

    def _clean(self, text: object) -> str:
        """Return one short line without the key, which some servers repeat."""
        line = " ".join(str(text).split()).rstrip(".")
        line = line.replace(self._key, "[key]") if self._key else line
        return line if len(line) <= 300 else f"{line[:297]}..."


def _key(variable: str) -> str:
    if not variable:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise BadInput(f"The environment variable {variable} is not set: it should hold the endpoint's API key.")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise BadInput(f"The environment variable {variable} does not hold an API key: set it again.")
    return key


def _without_user(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", url)


def _retry_after(headers: httpx2.Headers) -> float:
    """Return the seconds that a server asks to wait, from seconds, milliseconds or a date."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return max(float(headers[name]) * unit, 0.0)
        except (KeyError, ValueError):
            continue
    try:
        return max(parsedate_to_datetime(headers["retry-after"]).timestamp() - time(), 0.0)
    except (KeyError, ValueError, TypeError):
        return 0.0


@contextmanager
def _no_openai_variables() -> Iterator[None]:
    """Hide OPENAI_* (base url, organisation, headers, other keys), which the client would use as defaults."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("OPENAI_")}
    try:
        yield
    finally:
        os.environ.update(hidden)
