"""The differences between OpenAI-compatible servers: one table, extended by what servers refuse."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from permix.sampling.sampler import CHAT_TEMPLATE_KWARGS, Request

WAYS: dict[str, tuple[str, ...]] = {
    "max_tokens": ("max_tokens", "max_completion_tokens"),
    "temperature": ("temperature", ""),
    "top_p": ("top_p", ""),
    "seed": ("seed", ""),
    "stop": ("stop", ""),
    "response_format": ("json_schema", "json_object", ""),
    "chat_template_kwargs": ("chat_template_kwargs", ""),
}
"""Each parameter and the ways to send it, the standard one first; "" omits it."""

NO_SAMPLING = {"temperature": "", "top_p": "", "stop": ""}
HOSTED = {"chat_template_kwargs": ""}
OPENAI = HOSTED | {"max_tokens": "max_completion_tokens"}
DEEPSEEK = HOSTED | {"seed": "", "response_format": "json_object"}
TABLE: tuple[tuple[str, dict[str, str]], ...] = (
    (r"(openai/)?(chatgpt-.*|gpt-5.*-chat.*)", OPENAI),
    (r"(openai/)?(o\d|gpt-5)([.-].*)?", OPENAI | NO_SAMPLING),
    (r"(openai/)?gpt-(?!oss).*", OPENAI),
    (r"(deepseek/)?deepseek-reasoner", DEEPSEEK | {"temperature": "", "top_p": ""}),
    (r"(deepseek/)?deepseek-chat", DEEPSEEK),
    (r"(open-)?(mistral|ministral|magistral|codestral|mixtral)-.*", HOSTED | {"seed": "random_seed"}),
    (r"(anthropic/)?claude-.*", HOSTED | {"seed": "", "response_format": ""}),
    (r"(google/)?gemini-.*", HOSTED | {"seed": ""}),
)
"""Model names (the first row that matches completely) and their deviations from the standard.

Any other name (`org/name`) counts as an open model behind vLLM, SGLang or `transformers serve`: it gets all parameters,
and `chat_template_kwargs` with the pinned date. `Dialect.learn` corrects this when a server refuses one.
"""

REFUSED = r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|extra |not permitted|not allowed|deprecated"
TOGETHER = r"\bboth\b|only one|either|mutually|together|same time|simultaneous|in combination|conflict"
BY_VALUE = (
    r"invalid|must be|should be|less than|greater than|at most|maximum|range|between|exceed|too (large|big|long|many)|"
    r"int32|overflow|bits"
)
SMALL = 1 << 31
"""Seeds of servers that refuse ours of 56 bits are modulo this."""
HARMLESS = ("seed", "stop", "response_format", "chat_template_kwargs")
"""Parameters that may be omitted where a server refuses their value. Others are settings of the user."""


@dataclass
class Dialect:
    """The parameters of one model's server; `notes` has the changes learnt from its refusals.

    top_p 1 is sent to servers of open models alone: without it they would sample with the top_p of the model's folder.
    """

    model: str
    ways: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    small_seeds: bool = False

    def __post_init__(self) -> None:
        """Begin with the model's row in the table."""
        row = next((row for pattern, row in TABLE if re.fullmatch(pattern, self.model.lower())), {})
        self.ways = {parameter: ways[0] for parameter, ways in WAYS.items()} | row
        self._hosted, self._first = bool(row), dict(self.ways)

    def body(self, request: Request) -> dict[str, Any]:
        """Return the JSON body of one request."""
        sampling = request.sampling
        values: dict[str, Any] = {
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": [] if self._hosted and sampling.top_p == 1 else sampling.top_p,
            "seed": request.seed % SMALL if self.small_seeds else request.seed,
            "stop": list(sampling.stop),
            "chat_template_kwargs": CHAT_TEMPLATE_KWARGS,
        }
        body: dict[str, Any] = {"model": self.model, "messages": request.messages}
        body |= {self.ways[name]: value for name, value in values.items() if self.ways[name] and value != []}
        if sampling.json_schema and self.ways["response_format"] == "json_schema":
            schema = {"name": "answer", "schema": json.loads(sampling.json_schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif sampling.json_schema and self.ways["response_format"]:
            body["response_format"] = {"type": self.ways["response_format"]}
        return body

    def learn(self, message: str, parameter: str, sent: dict[str, Any]) -> bool:
        """Learn from a refusal (its message and the parameter it names); return whether to try the request again.

        `sent` is the refused body: of several requests refused together only the first changes the dialect.
        """
        refused, by_value, together = (
            bool(re.search(words, message, re.IGNORECASE)) for words in (REFUSED, BY_VALUE, TOGETHER)
        )
        keys = {name: next((key for key in (name, *WAYS[name], self._first[name]) if key in sent), "") for name in WAYS}
        spoken = {_plain(word) for word in re.findall(r"[\w-]+", message)}
        named = [name for name, key in keys.items() if key and _plain(key) in spoken]
        if together and len(named) > 1:
            name, other = named[-1], named[0]
            return not self.ways[name] or self._omit(name, f"{name} beside {other}")
        if parameter:
            named = [name for name, key in keys.items() if key and key == parameter.split(".")[0]]
        name = max(named, key=lambda name: len(keys[name]), default="")
        if name == "seed" and by_value and sent[keys[name]] >= SMALL:
            if not self.small_seeds:
                self.notes.append(f"{self.model} takes no seeds of more than 31 bits: sent modulo 2^31")
            self.small_seeds = True
            return True
        if not name or not (refused or (by_value and name in HARMLESS)):
            return False
        way = sent[name]["type"] if name == "response_format" else keys[name]
        return way != self.ways[name] or self._omit(name, way)

    def _omit(self, name: str, refused: str) -> bool:
        """Take the next way to send a parameter; return whether there is one."""
        way = self.ways[name]
        untried = WAYS[name][WAYS[name].index(way) + 1 :] if way in WAYS[name] else ("",)
        if untried:
            instead = f"{untried[0]} instead" if untried[0] else "sent without"
            self.notes.append(f"{self.model} takes no {refused}: {instead}")
            self.ways[name] = untried[0]
        return bool(untried)


def _plain(word: str) -> str:
    return word.replace("_", "").replace("-", "").lower()
