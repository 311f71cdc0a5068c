"""The replies of servers: their text, their errors with status 200, and the words of content filters."""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

from permix.sampling.sampler import is_limit

FILTERED = (
    r"content.{0,12}(filter|polic|manag|moderat|violat|risk|safety)|responsible.?ai|invalid.?prompt|moderation|flagged|"
    r"data.?inspection|sensitive.?(content|info|word|material)|prohibited.?content|inappropriate|harmful|guardrail|"
    r"high.risk|violat.{0,60}(polic|guideline|terms)|usage.(polic|guideline)|safety.?(system|filter|check|setting|polic)|"
    r"(prompt|input|output|response|request).{0,20}blocked|block.?reason|blocked.?(by|due)|unsafe"
)
"""Words of a server that refuses one prompt; ACCOUNT: words of one that refuses the account."""
ACCOUNT = r"account|organi[sz]ation|suspended|terminated|deactivated|banned|region|country"
FILTERED_END = r"filter|refus|safety|prohibit|blocklist|recitation|sensitive|moderat|toxic|guard|spii"


@dataclass(frozen=True)
class Reply:
    """The answer to a try; `counted` is False where the server reports no token counts.

    `finish` "refusal": a filter withheld the text; `reason` is the server's word for it.
    """

    text: str
    tokens_in: int
    tokens_out: int
    finish: Literal["stop", "length", "refusal"]
    model: str
    counted: bool
    reason: str = ""


def error_of(whole: Any) -> Any:
    """Return the error object of a reply that came with status 200, None where there is none."""
    if not isinstance(whole, dict):
        raise ValueError
    return whole.get("error") or (whole if whole.get("object") == "error" else None)


def status_of(details: Any) -> int:
    """Return the status that an error object names, by number or by word; 502 where it names none."""
    fields = details if isinstance(details, dict) else {"message": details}
    for name in ("code", "status", "status_code", "http_code"):
        if str(fields.get(name)).isdecimal() and 400 <= int(fields[name]) < 600:
            return int(fields[name])
    words = " ".join(str(fields.get(name)) for name in ("code", "type", "status", "message"))
    if re.search(FILTERED, words, re.IGNORECASE):
        return 400
    return 429 if re.search(r"rate.?limit|too many|overload|exhausted|busy", words, re.IGNORECASE) else 502


def is_failure(finish: str) -> bool:
    """Return whether a finish_reason means that the sampling failed."""
    return bool(re.search("error|abort", finish, re.IGNORECASE)) and not is_limit(finish)


async def events(parts: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the data of each server-sent event, one line."""
    rest = b""
    async for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if line.startswith(b"data:") and (event := line[5:].strip()):
                yield event
    if rest.startswith(b"data:"):
        yield rest[5:].strip()


def of_parts(content: Any) -> str:
    """Return the text of a message's content, a string or a list of parts; reasoning is not part of it."""
    if isinstance(content, dict):
        reasoning = re.search("think|reason", str(content.get("type")))
        return "" if reasoning else of_parts(content.get("text") or content.get("refusal"))
    if isinstance(content, list):
        return "".join(map(of_parts, content))
    return content if isinstance(content, str) else ""
