"""From a question to answers: checks, the base in memory and the verdicts, without the page."""

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from typing import Any

from catalog import Catalog
from gradio import Error
from huggingface_hub import HfApi
from models import ORG, Refused
from verdict import verdict

try:
    import spaces  # Hugging Face's, installed on every Space; a folder of that name would be an empty module
except ImportError:
    spaces = None  # type: ignore[assignment]

LONGEST = {"question": 8000, "system prompt": 2000, "known answer": 200, "chat": 40_000}  # characters
MOST_TOKENS = 2048
MOST_SEED = 2**63 - 1
ANSWERED = "Answered."
JOINER = "\u2060"  # invisible
ONE, ADAPTERS, PERSONAS, BASE = "one answer", "two adapters", "two personas", "base and adapter"

Chat = list[dict[str, Any]]
ON_ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")  # as the package `spaces` reads it
catalog = Catalog(ORG, os.environ.get("PERMIX_BASE", ""))
api = HfApi(library_name="permix-chat")
_speaker: Any = None
_opening = threading.Lock()


def speaker() -> Any:
    """Return the base in memory. It is loaded after the page, so that the page does not wait."""
    global _speaker
    with _opening:
        if _speaker is None:
            logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft imports it; unused here
            import torch
            from speaker import Speaker

            _speaker = Speaker("cuda" if torch.cuda.is_available() else "cpu")
        if not _speaker.base:
            listing = catalog.listing()
            if not listing.base:
                raise Refused(listing.trouble or f"{ORG} has not published an adapter yet.")
            _speaker.load(listing.base)
        return _speaker


def warm_up() -> None:
    """Load the base and sample a token before the first question, which reports a failure again."""
    try:
        model = speaker()
        from speaker import Request, Sampling

        list(model.answers([Request((("user", "Hi"),), "", 0, Sampling(0.0, 1.0, 1))]))  # the first one takes seconds
    except Refused as refused:
        print(refused, file=sys.stderr)


def seconds(requests: list[Any]) -> int:
    """Seconds of GPU to reserve: a visitor's quota must cover them, and a short reservation waits less."""
    return min(120, 20 + sum(request.sampling.max_tokens for request in requests) // 16)


def sample(requests: list[Any]) -> Iterator[tuple[list[str], list[str]] | Refused]:
    """Run `Speaker.answers` on a GPU; yield a Refused instead of raising it.

    ZeroGPU runs this in another process, where a raised Refused would become a traceback with the visitor's text in
    the log.
    """
    try:
        yield from _speaker.answers(requests)
    except Refused as refused:
        yield refused


if hasattr(spaces, "GPU"):  # without ZeroGPU it changes nothing
    sample = spaces.GPU(duration=seconds)(sample)


def answers(
    question: str,
    cast: list[tuple[str, str]],
    chats: list[Chat],
    seed: Any,
    temperature: Any,
    max_tokens: Any,
    top_p: Any,
) -> Iterator[tuple[list[str], str]]:
    """Yield the texts as they grow, and the state. `cast` holds (adapter, system prompt).

    The state of whole texts begins with ANSWERED. Raise Refused before anything expensive if the request cannot be
    served.
    """
    check("question", question)
    for _, system in cast:
        check("system prompt", system, needed=False)
    if any(sum(len(text_of(turn)) for turn in chat) > LONGEST["chat"] for chat in chats):
        raise Refused(f"The chat has more than {LONGEST['chat']:,} characters: clear it.")
    seed, max_tokens = number("seed", seed, 0, MOST_SEED), number("length", max_tokens, 1, MOST_TOKENS)
    temperature, top_p = number("temperature", temperature, 0, 2, float), number("top_p", top_p, 0.01, 1, float)
    yield ["" for _ in cast], "Loading the base model (once) …"
    model = speaker()
    from speaker import Request, Sampling

    requests, sampling = [], Sampling(temperature, top_p, max_tokens)
    for (adapter, system), chat in zip(cast, chats, strict=True):
        if adapter:
            yield ["" for _ in cast], f"Loading the adapter {adapter[:100]} …"
        start = [("system", system)] if system else []
        before = [(str(turn["role"]), text_of(turn)) for turn in chat]
        messages = (*start, *before, ("user", question))
        requests.append(Request(messages, model.find(adapter, api) if adapter else "", seed, sampling))
    yield ["" for _ in cast], "Answering …"
    for progress in sample(requests):
        if isinstance(progress, Refused):
            raise progress
        texts, ends = progress
        yield texts, state_of(ends, max_tokens)


def state_of(ends: list[str], max_tokens: int) -> str:
    """The state of answers with these ends (`Speaker.answers`)."""
    if not all(ends):
        return "Answering …"
    cuts = {"length": f"Cut at {max_tokens} tokens: Settings has the length.", "time": "Cut after two minutes."}
    return " ".join([ANSWERED, *(cuts[end] for end in dict.fromkeys(ends) if end in cuts)])


def check(field: str, text: str, needed: bool = True) -> None:
    """Raise Refused for a text that is empty or too long."""
    if needed and not text.strip():
        raise Refused(f"The {field} is empty: write one.")
    if len(text) > LONGEST[field]:
        raise Refused(f"The {field} has {len(text):,} characters: up to {LONGEST[field]:,} are read.")


def number(field: str, entry: Any, low: float, high: float, kind: type = int) -> Any:
    """Return `entry` as a number between `low` and `high`."""
    try:
        parsed = kind(entry)
    except (TypeError, ValueError, OverflowError):
        raise Refused(f"The {field} should be a number.") from None
    if not low <= parsed <= high:
        raise Refused(f"The {field} should be between {low:g} and {high:g}.")
    return parsed


def turns(question: str, text: str) -> Chat:
    """A question and its answer in gradio's format."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": text}]


def text_of(turn: dict[str, Any]) -> str:
    """The text of one turn in gradio's format."""
    content = turn["content"]
    parts = content if isinstance(content, list) else [content]
    text = "".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in parts)
    return text.replace(f"<{JOINER}", "<")


def inert(text: str) -> str:
    """Return `text` for a chat box, which renders HTML even without Markdown, with no "<" that opens a tag."""
    return re.sub(r"<(?=[A-Za-z/!?])", f"<{JOINER}", text)


def cast_of(compare: str, adapters: list[str], systems: list[str]) -> list[tuple[str, str]]:
    """(adapter, system prompt) of each chat box."""
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
    """Yield chats, verdicts and state until the answers are whole."""
    cast = cast_of(compare, adapters, systems)
    old = [chat or [] for chat in chats][: len(cast)]
    rest = [[] for _ in chats[len(cast) :]]
    verdicts = ["" for _ in chats]
    texts: list[str] = []
    try:
        check("known answer", gold, needed=False)
        for texts, state in answers(question, cast, old, *settings):
            grown = [
                [*chat, *turns(inert(question), inert(text) or "…")] for chat, text in zip(old, texts, strict=True)
            ]
            if state.startswith(ANSWERED):
                verdicts[: len(texts)] = [verdict(text, gold) for text in texts]
            yield [*grown, *rest], verdicts, state
    except Refused as refused:
        yield [*old, *rest], verdicts, str(refused)
    except Error as error:  # from ZeroGPU: the quota is used up, or every GPU is busy
        yield [*old, *rest], verdicts, re.sub(r"<[^>]*>", "", str(error.message))
    except Exception as error:  # the visitor's text is not logged, and the page keeps working
        print(f"an answer failed: {type(error).__name__}", file=sys.stderr)
        yield [*old, *rest], verdicts, "The answer failed: ask again, or clear the chat."
