"""A base's chat template: it must show system messages to the model, and it may add one of its own."""

import re
from typing import Any

from permix.errors import BadInput
from permix.prompting.prompts import Messages
from permix.sampling.sampler import CHAT_TEMPLATE_KWARGS

MARK = "(permix-7f3a)"
"""A text that neither a persona nor a template holds."""
MARKER = re.compile(r"<[^<>]*>|\[/?[A-Z_]+\]")
"""A special token, in the usual notations."""


def rendered(tokenizer: Any, messages: Messages, base: str) -> str:
    """Return a chat's prompt; BadInput if the template fails or another system message gives the same prompt."""
    text = _render(tokenizer, messages, base)
    for number, message in enumerate(messages):
        system = message["role"] == "system" and message["content"].strip()
        if system and not _shows(tokenizer, messages, number, text, base):
            raise BadInput(
                f"The chat template of {base} leaves out system messages, which carry the personas: "
                "choose another base, or give its tokenizer a template that shows them."
            )
    return text


def default_system(tokenizer: Any, messages: Messages, base: str) -> str:
    """Return the system message that the template adds to a chat without one, "" if it adds none."""
    try:
        marked = _render(tokenizer, [{"role": "system", "content": MARK}, *messages], base)
    except BadInput:  # no system messages at all
        return ""
    text = _render(tokenizer, messages, base)
    before, _, after = marked.partition(MARK)
    frame, rest = text[: _common(before, text)], text[len(before) :]
    default = rest[: len(rest) - _common(rest[::-1], after[::-1])] if frame == before else ""
    # Some templates begin every chat with a system message: Llama 3 with dates, gpt-oss with a name.
    constant = MARKER.sub("", frame).strip().removeprefix("system") if "system" in frame else ""
    return MARKER.sub("", constant + default).strip()


def _common(first: str, second: str) -> int:
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(first), len(second)))


def _render(tokenizer: Any, messages: Messages, base: str) -> str:
    from jinja2 import TemplateError

    try:
        text: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **CHAT_TEMPLATE_KWARGS
        )
    except TemplateError as error:  # Gemma 1 and 2, for example, have no system messages
        roles = [message["role"] for message in messages]
        chat = "a lone user message" if roles == ["user"] else f"a chat of {', '.join(roles)}"
        rejected = "system messages, which carry the personas" if "system" in roles else chat
        raise BadInput(f"The chat template of {base} rejects {rejected} ({error}): choose another base.") from None
    return text


def _shows(tokenizer: Any, messages: Messages, number: int, text: str, base: str) -> bool:
    """Return whether the prompt `text` depends on all of the system message `number`."""
    content = messages[number]["content"]
    words, others = _packed(content), [*messages[:number], *messages[number + 1 :]]
    stands = words in _packed(text)
    if stands and len(words) > 20 and not any(words in _packed(other["content"]) for other in others):
        return True  # in most chats one rendering is enough

    def changed(system: str) -> bool:
        chat = [*messages[:number], {"role": "system", "content": system}, *messages[number + 1 :]]
        return _render(tokenizer, chat, base) != text

    # A template may escape the words. Its default system message may be the same as this one.
    differs = stands or _render(tokenizer, others, base) != text
    return differs and all(map(changed, (f"{content} {MARK}", f"{MARK} {content}", "?" * len(content))))


def _packed(text: str) -> str:
    return "".join(text.split())
