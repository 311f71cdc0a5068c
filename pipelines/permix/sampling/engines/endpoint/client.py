"""A client of OpenAI's chat completions: one try of one request, and the meaning of each failure."""

import asyncio
import json
import math
import os
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx2
import openai

from permix.errors import BadInput, PermixError, nearest
from permix.files import storable
from permix.sampling.engines.endpoint.dialect import Dialect
from permix.sampling.engines.endpoint.replies import (
    ACCOUNT,
    FILTERED,
    FILTERED_END,
    Reply,
    error_of,
    events,
    is_failure,
    of_parts,
    status_of,
)
from permix.sampling.sampler import Endpoint, Request, is_limit

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
YEAR = 365 * 86400.0


class Fault(Exception):
    """A failed try that is worth another one; `busy` when the server is overloaded.

    `wait`: seconds that the server asks for. `lost`: a completion may have been sampled and billed, but did not arrive.
    `learned`: the server refused a parameter that later tries omit. `filtered`: a refusal of the prompt if every try
    ends like this.
    """

    def __init__(
        self,
        reason: str,
        *,
        busy: bool = False,
        wait: float = 0.0,
        lost: bool = False,
        learned: bool = False,
        filtered: bool = False,
    ) -> None:
        super().__init__(reason)
        self.busy, self.wait, self.lost, self.learned, self.filtered = busy, wait, lost, learned, filtered


class Refusal(Exception):
    """The server refuses this request at every try (a content filter on the prompt)."""


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
        return self._reply(response, request, body)

    async def stream(self, request: Request) -> AsyncGenerator[tuple[str, str]]:
        """Yield (growing text, finish or "") of one completion; raises as `ask` does."""
        body = self.dialect.body(request)
        more: Any = {key: value for key, value in body.items() if key not in ("model", "messages")}
        messages: Any = request.messages
        create = self._openai.chat.completions.with_streaming_response.create
        text, finish, done = "", "", False
        try:
            async with (
                create(model=self.endpoint.model, messages=messages, stream=True, extra_body=more) as response,
                aclosing(events(response.iter_bytes())) as lines,
            ):
                async for line in lines:
                    if done := line.startswith(b"[DONE]"):
                        break
                    chunk = json.loads(line)
                    if details := error_of(chunk):
                        raise self._refused(status_of(details), details, response.headers, request, body)
                    for choice in (chunk.get("choices") or [])[:1]:
                        delta = choice.get("delta") or {}
                        text += of_parts(delta.get("content")) or of_parts(delta.get("refusal"))
                        finish = str(choice.get("finish_reason") or finish)
                        if is_failure(finish):
                            raise ValueError(f"finish_reason {finish}")
                        yield storable(text), finish and ("length" if is_limit(finish) else "stop")
        except openai.NotFoundError as error:
            raise await self._not_served(error) from None
        except openai.APIError as error:
            raise self._failure(error, request, body) from None
        except (httpx2.HTTPError, ValueError, AttributeError, TypeError) as error:
            raise Fault(f"a broken stream ({self._clean(error)})", lost=True) from None
        if not text and re.search(FILTERED_END, finish, re.IGNORECASE):
            raise Refusal(f"finish_reason {self._clean(finish)}")
        if not finish and not (done and text):
            raise Fault("a stream without an end", lost=True)

    async def close(self) -> None:
        """Close the connections."""
        await self._openai.close()

    def _reply(self, response: httpx2.Response, request: Request, body: dict[str, Any]) -> Reply:
        start = self._clean(response.text[:80])
        try:
            whole = storable(response.json())
            if not whole.get("choices"):
                if details := error_of(whole):
                    raise self._refused(status_of(details), details, response.headers, request, body)
                raise Fault(f"a reply without choices ({start})", filtered=True)
            choice = whole["choices"][0]
            message, finish = choice["message"], str(choice.get("finish_reason") or "stop")
            text = of_parts(message.get("content")) or of_parts(message.get("refusal"))
            filtered = not text and re.search(FILTERED_END, finish, re.IGNORECASE)
            if details := choice.get("error"):
                raise self._refused(status_of(details), details, response.headers, request, body)
            if not isinstance(message.get("content"), str | list | dict | None) or (
                is_failure(finish) and not filtered
            ):
                raise ValueError
            usage, model = whole.get("usage"), str(whole.get("model") or self.endpoint.model)
        except (ValueError, LookupError, TypeError, AttributeError):
            raise Fault(f"a reply that is not a completion ({start})", lost=True) from None
        counts = usage if isinstance(usage, dict) else {}
        tokens_in, tokens_out = counts.get("prompt_tokens"), counts.get("completion_tokens")
        end: Literal["stop", "length", "refusal"] = "refusal" if filtered else "length" if is_limit(finish) else "stop"
        return Reply(
            text,
            tokens_in if isinstance(tokens_in, int) else 0,
            tokens_out if isinstance(tokens_out, int) else 0,
            end,
            model,
            isinstance(tokens_in, int) and isinstance(tokens_out, int),
            f"finish_reason {finish}" if filtered else "",
        )

    def _failure(self, error: openai.APIError, request: Request | None, body: dict[str, Any]) -> Exception:
        """Return the error of ours for an error of the client."""
        if not isinstance(error, openai.APIStatusError):
            return Fault(f"a broken connection ({self._clean(error.__cause__ or error)})", lost=True)
        return self._refused(error.status_code, error.body, error.response.headers, request, body)

    def _refused(
        self, status: int, details: Any, headers: httpx2.Headers, request: Request | None, body: dict[str, Any]
    ) -> Exception:
        """Return the error of ours for a status and what the server says of it."""
        if isinstance(details, list) and details:  # Google's form
            details = details[0]
        fields = error_of(details) or details if isinstance(details, dict) else {}
        fields = fields if isinstance(fields, dict) else {"message": fields}
        code, parameter = str(fields.get("code") or fields.get("type") or ""), str(fields.get("param") or "")
        message = fields.get("message") or fields.get("detail") or details or "without a message"
        message = self._clean(message)
        full_message = (
            f"{code} {message} {self._clean(fields.get('metadata') or '')}"  # OpenRouter: the provider's words
        )
        filtered = bool(request and re.search(FILTERED, full_message, re.IGNORECASE))
        if status == 402 or re.search(NO_MONEY, full_message, re.IGNORECASE):
            return PermixError(f"The account for {self._name} has no credit left ({message}): top it up and run again.")
        if status in (408, 409, 425, 429) or status >= 500:
            wait = _retry_after(headers)
            if wait > self.endpoint.timeout:
                return PermixError(
                    f"{self._name} asks to wait {wait:.0f} s ({message}): "
                    "run again later; finished completions are stored."
                )
            busy = status in (429, 503, 529)
            return Fault(f"status {status}: {message}", busy=busy, wait=wait, filtered=filtered and not busy)
        if filtered and status != 401 and not (status == 403 and re.search(ACCOUNT, message, re.IGNORECASE)):
            return Refusal(message)
        if status in (401, 403):
            refused = f"the key in {self.endpoint.key}" if self._key else "requests without a key: name its variable"
            return BadInput(f"{self.endpoint.url} refuses {refused} ({status}: {message}).")
        if 300 <= status < 400:
            location = _without_user(headers.get("location", "elsewhere"))
            return BadInput(f"{self.endpoint.url} redirects to {location}: if you trust it, give it as url.")
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
        line = " ".join(str(storable(text)).split()).rstrip(".")
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
    """Return the seconds that a server asks to wait, from seconds, milliseconds, a date or a Unix time."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds):
            if seconds > 1000 * YEAR:  # a Unix time in milliseconds
                seconds /= 1000
            return max(seconds - time() if seconds > YEAR else seconds, 0.0)
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
