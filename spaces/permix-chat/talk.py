"""From a question to answers: checks, the one base in memory, and the verdicts. Knows nothing of the page."""

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from typing import Any

from catalog import Catalog, Refused
from gradio import Error
from huggingface_hub import HfApi
from verdict import verdict

try:
    import spaces  # Hugging Face's, on every Space; beside a folder of that name it is an empty module
except ImportError:
    spaces = None  # type: ignore[assignment]

ORG = os.environ.get("PERMIX_ORG") or os.environ.get("SPACE_ID", "permix/").partition("/")[0]
LONGEST = {"question": 8000, "system prompt": 2000, "known answer": 200, "chat": 40_000}  # characters
MOST_TOKENS = 1024
ANSWERED = "Answered."
JOINER = "\u2060"  # takes no room on the screen
ONE, ADAPTERS, PERSONAS, BASE = "one answer", "two adapters", "two personas", "base and adapter"

Chat = list[dict[str, Any]]
ON_ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")  # as that package reads it
catalog = Catalog(ORG, os.environ.get("PERMIX_BASE", ""))
api = HfApi(library_name="permix-chat")
_speaker: Any = None
_opening = threading.Lock()


def speaker() -> Any:
    """The one base in memory. It is loaded beside the page, so that the page comes first."""
    global _speaker
    with _opening:
        if _speaker is None:
            logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft loads it where it is; nothing here uses it
            import torch
            from speaker import Speaker

            _speaker = Speaker("cuda" if torch.cuda.is_available() else "cpu")
        if not _speaker.base:
            listing = catalog.listing()
            if not listing.base:
                raise Refused(listing.trouble or f"{ORG} has published no adapter yet.")
            _speaker.load(listing.base)
        return _speaker


def warm_up() -> None:
    """Load the base before anybody asks; where that fails the first question says why."""
    try:
        speaker()
    except Refused as refused:
        print(refused, file=sys.stderr)


def seconds(asks: list[Any]) -> int:
    """How long a GPU is asked for. A visitor's quota must cover it, and a short request waits less."""
    return min(120, 20 + sum(ask.max_tokens for ask in asks) // 16)


def sample(asks: list[Any]) -> Iterator[tuple[list[str], bool] | Refused]:
    """`Speaker.answers` on a GPU. ZeroGPU runs it in a process of its own, which would turn a Refused into a traceback
    with what was typed in the log: so it is handed over as a value.
    """
    try:
        yield from _speaker.answers(asks)
    except Refused as refused:
        yield refused


if hasattr(spaces, "GPU"):  # off ZeroGPU it changes nothing
    sample = spaces.GPU(duration=seconds)(sample)


def answers(
    question: str, cast: list[tuple[str, str]], chats: list[Chat], seed: Any, temperature: Any, max_tokens: Any
) -> Iterator[tuple[list[str], str]]:
    """The texts as they grow, and how far things are (ANSWERED when whole). `cast` are (adapter, system prompt).

    Refused with one sentence, before anything expensive, where it cannot be done.
    """
    check("question", question)
    for _, system in cast:
        check("system prompt", system, needed=False)
    if any(sum(len(said(turn)) for turn in chat) > LONGEST["chat"] for chat in chats):
        raise Refused(f"The chat has more than {LONGEST['chat']:,} characters: clear it.")
    seed, tokens = number("seed", seed, 0, 2**53), number("length", max_tokens, 1, MOST_TOKENS)
    heat = number("temperature", temperature, 0, 2, float)
    yield ["" for _ in cast], "Loading the base model (once) …"
    one = speaker()
    from speaker import Ask

    asks = []
    for (adapter, system), chat in zip(cast, chats, strict=True):
        if adapter:
            yield ["" for _ in cast], f"Loading the adapter {adapter[:100]} …"
        start = [("system", system)] if system else []
        before = [(str(turn["role"]), said(turn)) for turn in chat]
        messages = (*start, *before, ("user", question))
        asks.append(Ask(messages, one.find(adapter, api) if adapter else "", seed, heat, tokens))
    yield ["" for _ in cast], "Answering …"
    for found in sample(asks):
        if isinstance(found, Refused):
            raise found
        texts, whole = found
        yield texts, ANSWERED if whole else "Answering …"


def check(what: str, text: str, needed: bool = True) -> None:
    """Refuse a text that is empty or too long."""
    if needed and not text.strip():
        raise Refused(f"The {what} is empty: write one.")
    if len(text) > LONGEST[what]:
        raise Refused(f"The {what} has {len(text):,} characters: up to {LONGEST[what]:,} are read.")


def number(what: str, value: Any, low: float, high: float, kind: type = int) -> Any:
    """`value` as a number between `low` and `high`."""
    try:
        found = kind(value)
    except (TypeError, ValueError, OverflowError):
        raise Refused(f"The {what} should be a number.") from None
    if not low <= found <= high:
        raise Refused(f"The {what} should be between {low:g} and {high:g}.")
    return found


def turns(question: str, text: str) -> Chat:
    """A question and its answer as gradio has them."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": text}]


def said(turn: dict[str, Any]) -> str:
    """The text of one turn, as gradio keeps it."""
    content = turn["content"]
    parts = content if isinstance(content, list) else [content]
    text = "".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in parts)
    return text.replace(f"<{JOINER}", "<")


def inert(text: str) -> str:
    """`text` for a chat box, which shows HTML even where it renders no Markdown: no "<" of it opens a tag."""
    return re.sub(r"<(?=[A-Za-z/!?])", f"<{JOINER}", text)


def cast_of(compare: str, adapters: list[str], systems: list[str]) -> list[tuple[str, str]]:
    """Who answers in each box, as (adapter, system prompt)."""
    casts = {
        ONE: [(adapters[0], systems[0])],
        ADAPTERS: [(adapters[0], systems[0]), (adapters[1], systems[0])],
        PERSONAS: [(adapters[0], systems[0]), (adapters[0], systems[1])],
        BASE: [("", systems[0]), (adapters[0], systems[0])],
    }
    return [((adapter or "").strip(), system.strip()) for adapter, system in casts.get(compare, casts[ONE])]


def respond(
    question: str, gold: str, compare: str, adapters: list[str], systems: list[str], chats: list[Chat], *settings: Any
) -> Iterator[tuple[list[Chat], list[str], str]]:
    """The chats, the verdicts and the state of things, again and again until the answers are whole."""
    cast = cast_of(compare, adapters, systems)
    old = [chat or [] for chat in chats][: len(cast)]
    rest = [[] for _ in chats[len(cast) :]]
    verdicts = ["" for _ in chats]
    texts: list[str] = []
    try:
        check("known answer", gold, needed=False)
        for texts, state in answers(question, cast, old, *settings):
            shown = [
                [*chat, *turns(inert(question), inert(text) or "…")] for chat, text in zip(old, texts, strict=True)
            ]
            if state == ANSWERED:
                verdicts[: len(texts)] = [verdict(text, gold) for text in texts]
            yield [*shown, *rest], verdicts, state
    except Refused as refused:
        yield [*old, *rest], verdicts, str(refused)
    except Error as error:  # ZeroGPU's own: no quota left, or no GPU free
        yield [*old, *rest], verdicts, re.sub(r"<[^>]*>", "", str(error.message))
    except Exception as error:  # what was typed is not logged, and the page goes on
        print(f"an answer failed: {type(error).__name__}", file=sys.stderr)
        yield [*old, *rest], verdicts, "Something failed here: ask again, or clear the chat."
