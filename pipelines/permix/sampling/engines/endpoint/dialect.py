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


@dataclass
class Dialect:
    """The parameters of one model's server; `notes` has the changes learnt from its refusals."""

    model: str
    ways: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with the model's row in the table."""
        row = next((row for pattern, row in TABLE if re.fullmatch(pattern, self.model.lower())), {})
        self.ways = {parameter: ways[0] for parameter, ways in WAYS.items()} | row

    def body(self, request: Request) -> dict[str, Any]:
        """Return the JSON body of one request."""
        sampling = request.sampling
        values: dict[str, Any] = {
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": request.seed,
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
        if not re.search(REFUSED, message, re.IGNORECASE):
            return False
        ours = sorted(sent.keys() - {"model", "messages"}, key=len, reverse=True)
        words = [parameter.split(".")[0]] if parameter else re.findall(r"\w+", message)
        named = next((name for name in ours if name in words), "")
        names = {self.ways[name] if name != "response_format" else name: name for name in WAYS if self.ways[name]}
        if not named or named not in names:
            return bool(named)  # sent, but not any more: the refusal of another request came first
        name = names[named]
        if name == "response_format" and sent[name]["type"] != self.ways[name]:
            return True
        untried = WAYS[name][WAYS[name].index(self.ways[name]) + 1 :] if self.ways[name] in WAYS[name] else ("",)
        if not untried:
            return False
        instead = f"{untried[0]} instead" if untried[0] else "sent without"
        self.notes.append(f"{self.model} takes no {self.ways[name]}: {instead}")
        self.ways[name] = untried[0]
        return True
