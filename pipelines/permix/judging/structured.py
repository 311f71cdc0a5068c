"""Ask a served model for a reply of one form; a reply without the form is requested again, with the reason."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from permix.errors import BadInput, PermixError
from permix.experiment.models import Model
from permix.prompting import prompts
from permix.prompting.prompts import Messages
from permix.sampling.sampler import Completion, Request, Sampler, Sampling, seed_of
from permix.stage import StageContext
from permix.verifier.answer import without_reasoning

_FENCED = re.compile(r"```\w*\s(.*?)\s*```", re.DOTALL)
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})|\\')
_OBJECT = re.compile(r'\{\s*["}]')
_JSON = json.JSONDecoder(strict=False)  # control characters in strings are allowed


class Misfit(Exception):
    """A reply without the requested form: a word for the record, and a sentence for the model."""

    def __init__(self, fault: str, sentence: str) -> None:
        super().__init__(sentence)
        self.fault = fault


@dataclass(frozen=True)
class Form:
    """The form of a reply: `read` returns the value of a text or raises Misfit; `schema` is its JSON Schema, if any.

    `again` returns the chat of a repeated request from the first chat, the reply and its fault.
    """

    read: Callable[[str], Any]
    schema: Mapping[str, Any] | None = None
    again: Callable[[Messages, str, str], Messages] = prompts.again


@dataclass(frozen=True)
class Reply:
    """The outcome of one request. `raw` has every reply as received; the last one decides.

    `fault` is "" if there is a value, "failed" if the server did not reply, "not_asked" if the client ended earlier
    (budget reached, server down), else the Misfit's.
    """

    value: Any = None
    raw: tuple[str, ...] = ()
    fault: str = "not_asked"
    model: str = ""


def read(text: str, form: Form) -> Any:
    """Return the value of one raw reply, or raise Misfit."""
    if not text.strip():
        raise Misfit("empty", "Your reply was empty.")
    return form.read(text)


def json_of(properties: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Any]) -> Form:
    """Return the form of a JSON object with exactly these properties in this order, the only object of its reply."""

    def read_text(text: str) -> Any:
        return read(_only_object(text))

    closed = {"properties": dict(properties), "required": list(properties), "additionalProperties": False}
    return Form(read_text, {"type": "object", **closed})


def _only_object(text: str) -> Mapping[str, Any]:
    """Return the one JSON object behind the reasoning of a reply, or raise Misfit; wrong escapes are literal."""
    text = _ESCAPE.sub(lambda escape: escape[0] if len(escape[0]) > 1 else "\\\\", text.replace("\0", ""))
    objects: list[Mapping[str, Any]] = []
    outside, end = "", 0  # with "\0" for each object, because its texts may mention marks of reasoning
    for start in (match.start() for match in _OBJECT.finditer(text)):
        if start >= end:
            try:
                content, after = _JSON.raw_decode(text, start)
            except (ValueError, RecursionError):
                continue
            outside += f"{text[end:start]}\0"
            objects.append(content)
            end = after
    outside = without_reasoning(outside + text[end:]) or ""
    if outside.count("\0") != 1 or _OBJECT.search(outside):
        raise Misfit("no_json", "Your reply was not one JSON object.")
    return objects[-1]


def unfenced(text: str) -> str:
    """Return `text` without reasoning before it, a byte order mark and the code fence around it."""
    text = (without_reasoning(text) or "").strip("\ufeff \t\r\n")
    fenced = _FENCED.fullmatch(text)
    return fenced[1] if fenced else text


def served(model: Model, where: str) -> Model:
    """Return a model behind a server, or raise BadInput; `where` names the key of the recipe."""
    if not model.url:
        raise BadInput(f"{where} names {model.name}, which has no url: set url in [model.{model.name}] to its server.")
    return model


@dataclass
class SharedBudget:
    """The USD that all clients of one artifact may spend together (`limit` 0: unlimited), and the USD spent."""

    limit: float
    spent: float = 0.0


class Client:
    """One served model. `trouble` is a sentence with the reason if the client ended early."""

    def __init__(
        self, model: Model, context: StageContext, sampling: Sampling, retries: int, budget: SharedBudget
    ) -> None:
        self.model, self.sampling, self.trouble = model, sampling, ""
        self.tokens_in = self.tokens_out = self.completions = 0
        self._parts, self._retries, self._budget = context, retries, budget

    def open(self) -> Sampler:
        """Connect to the server; BadInput if it does not answer or refuses the key, PermixError without budget."""
        left = self._budget.limit - self._budget.spent
        if self._budget.limit and left <= 0:
            raise PermixError(f"The budget of {self._budget.limit:g} USD is reached.")
        return self._parts.sampler(self.model.endpoint(left if self._budget.limit else 0.0))

    def ask(
        self, chats: Mapping[str, Messages], form: Form, journal: str, *seeds: object, sampling: Sampling | None = None
    ) -> dict[str, Reply]:
        """Return replies by the ids of `chats`; each round, with its own journal, repeats the requests with a fault."""
        schema = json.dumps(form.schema) if form.schema else ""
        settings = replace(sampling or self.sampling, json_schema=schema)
        replies = {key: Reply() for key in chats}
        open_chats = dict(chats)
        for attempt in range(1 + self._retries):
            wrong = {}
            for done in self._sample(open_chats, settings, f"{journal}-{attempt}", *seeds, attempt):
                reply = replies[done.id] = _after(replies[done.id], done, form)
                if reply.fault not in ("", "failed"):
                    wrong[done.id] = form.again(chats[done.id], done.text, _fault(done.text, form))
            open_chats = {key: wrong[key] for key in chats if key in wrong}
            if not open_chats or self.trouble:
                break
        return replies

    def _sample(
        self, chats: Mapping[str, Messages], sampling: Sampling, name: str, *seeds: object
    ) -> Iterator[Completion]:
        requests = [Request(key, chat, sampling, seed_of(*seeds, key)) for key, chat in chats.items()]
        journal = self._parts.work / f"{name}.jsonl"
        try:
            for done in self.open().sample(requests, journal=journal, progress=self._parts.progress):
                self.completions += 1
                self.tokens_in += done.tokens_in
                self.tokens_out += done.tokens_out
                self._budget.spent += self.model.price(done.tokens_in, done.tokens_out)
                yield done
        except BadInput:
            raise
        except PermixError as error:  # server down or budget reached: other clients continue
            self.trouble = str(error)


def spent(clients: Iterable[Client]) -> dict[str, float]:
    """Return the cost of these clients' replies for the run record."""
    every = list(clients)
    counts: dict[str, float] = {"api_calls": sum(c.completions for c in every)}
    counts |= {"api_tokens_in": sum(c.tokens_in for c in every), "api_tokens_out": sum(c.tokens_out for c in every)}
    usd = sum(c.model.price(c.tokens_in, c.tokens_out) for c in every)
    return counts | ({"USD": round(usd, 6)} if usd else {})


def _after(before: Reply, done: Completion, form: Form) -> Reply:
    if done.finish in ("error", "refusal"):
        return replace(before, fault="failed")
    raw, model = (*before.raw, done.text), done.engine.removeprefix("endpoint ")
    try:
        return Reply(read(done.text, form), raw, "", model)
    except Misfit as misfit:
        return Reply(None, raw, misfit.fault, model)


def _fault(text: str, form: Form) -> str:
    try:
        read(text, form)
    except Misfit as misfit:
        return str(misfit)
    return ""
