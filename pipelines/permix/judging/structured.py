"""Ask a served model for a reply of one form: one that does not have it is asked for again, with the reason."""

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

_FENCED = re.compile(r"\s*```\w*\s*\n(.*?)\n\s*```\s*", re.DOTALL)


class Misfit(Exception):
    """A reply without the form asked for: a word for the record, and the sentence that the model is told."""

    def __init__(self, fault: str, said: str) -> None:
        super().__init__(said)
        self.fault = fault


@dataclass(frozen=True)
class Form:
    """What is asked for: what makes a value of a reply's text (or raises Misfit), and its JSON Schema where it has one.

    `again` makes the chat that asks once more: of the one before, the reply, and what was wrong with it.
    """

    read: Callable[[str], Any]
    schema: Mapping[str, Any] | None = None
    again: Callable[[Messages, str, str], Messages] = prompts.again


@dataclass(frozen=True)
class Reply:
    """What came of one question. `raw`: every reply as it came; the last one decides.

    `fault` is "" where there is a value; "failed" where the server gave no reply to this one, "not_asked" where the
    asking ended before it (budget reached, server down); else the Misfit's.
    """

    value: Any = None
    raw: tuple[str, ...] = ()
    fault: str = "not_asked"
    model: str = ""


def read(text: str, form: Form) -> Any:
    """The value in one raw reply; Misfit where there is none."""
    if not text.strip():
        raise Misfit("empty", "Your reply was empty.")
    return form.read(text)


def json_of(properties: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Any]) -> Form:
    """The form of a JSON object with just these properties, in this order, alone or in a code fence."""

    def read_text(text: str) -> Any:
        try:
            found = json.loads(unfenced(text))
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise Misfit("no_json", "Your reply was not one JSON object.")
        return read(found)

    closed = {"properties": dict(properties), "required": list(properties), "additionalProperties": False}
    return Form(read_text, {"type": "object", **closed})


def unfenced(text: str) -> str:
    """`text`, or what is in the code fence that it consists of."""
    fenced = _FENCED.fullmatch(text)
    return fenced[1] if fenced else text


def served(model: Model, where: str) -> Model:
    """`model` where it is behind a server; BadInput where it is not, `where` names the key of the recipe."""
    if not model.url:
        raise BadInput(
            f"{where} names {model.name}, which has no url: set url in [model.{model.name}] to its server's."
        )
    return model


@dataclass
class SharedBudget:
    """USD that all clients of one artifact may spend together (`limit` 0: no limit), and what they spent."""

    limit: float
    spent: float = 0.0


class Client:
    """One served model. `trouble` says in one sentence why the asking ended early, if it did."""

    def __init__(
        self, model: Model, context: StageContext, sampling: Sampling, retries: int, budget: SharedBudget
    ) -> None:
        self.model, self.sampling, self.trouble = model, sampling, ""
        self.tokens_in = self.tokens_out = self.completions = 0
        self._parts, self._retries, self._budget = context, retries, budget

    def open(self) -> Sampler:
        """Reach the server; BadInput where it does not answer or refuses the key, PermixError where nothing is left."""
        left = self._budget.limit - self._budget.spent
        if self._budget.limit and left <= 0:
            raise PermixError(f"The budget of {self._budget.limit:g} USD is reached.")
        return self._parts.sampler(self.model.endpoint(left if self._budget.limit else 0.0))

    def ask(
        self, asked: Mapping[str, Messages], form: Form, what: str, *seeds: object, sampling: Sampling | None = None
    ) -> dict[str, Reply]:
        """The replies by the ids of `asked`, in rounds: each asks again what the one before got wrong.

        `what` names the journals, one for each round; `seeds` and the id decide the noise; `sampling` is the client's
        unless it is given.
        """
        schema = json.dumps(form.schema) if form.schema else ""
        settings = replace(sampling or self.sampling, json_schema=schema)
        replies = {key: Reply() for key in asked}
        open_chats = dict(asked)
        for attempt in range(1 + self._retries):
            wrong = {}
            for done in self._sample(open_chats, settings, f"{what}-{attempt}", *seeds, attempt):
                reply = replies[done.id] = _after(replies[done.id], done, form)
                if reply.fault not in ("", "failed"):
                    said = _fault(done.text, form)
                    wrong[done.id] = form.again(asked[done.id], done.text, said)
            open_chats = {key: wrong[key] for key in asked if key in wrong}
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
        except PermixError as error:  # the server went down, the budget is reached: the others go on
            self.trouble = str(error)


def spent(clients: Iterable[Client]) -> dict[str, float]:
    """What these clients' replies cost, for the run record."""
    every = list(clients)
    found: dict[str, float] = {"api_calls": sum(c.completions for c in every)}
    found |= {"api_tokens_in": sum(c.tokens_in for c in every), "api_tokens_out": sum(c.tokens_out for c in every)}
    usd = sum(c.model.price(c.tokens_in, c.tokens_out) for c in every)
    return found | ({"USD": round(usd, 6)} if usd else {})


def _after(before: Reply, done: Completion, form: Form) -> Reply:
    if done.finish == "error":
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
