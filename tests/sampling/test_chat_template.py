"""Chat templates that hide system messages, and those that add one."""

from pathlib import Path
from typing import Any

import pytest

from permix.errors import BadInput
from permix.prompting.prompts import Messages
from permix.sampling import chat_template
from permix.sampling.engines import open_engine
from permix.sampling.sampler import Engine, Request, Sampling
from tests.support.models import TEMPLATE, make_tiny_model, make_tiny_tokenizer

SYSTEM = {"role": "system", "content": "You are a retired sailor, and you talk in rhymes."}
USER, ANSWER = {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}
CHAT, FEW_SHOT = [SYSTEM, USER], [SYSTEM, USER, ANSWER, USER]

EACH = "{% for m in messages %}%s{% endfor %}"
FIRST = "{{ messages[0]['content'] }} {{ messages[-1]['content'] }}"
LAST = "{{ messages[-1]['content'] }}"
HIDING = {
    "no system": (EACH.replace("%s", "{% if m['role'] != 'system' %}{{ m['content'] }}{% endif %}"), CHAT),
    "the role alone": (
        EACH.replace("%s", "{{ m['role'] }}{% if m['role'] != 'system' %}{{ m['content'] }}{% endif %}"),
        CHAT,
    ),
    "the beginning": (FIRST.replace("[0]['content']", "[0]['content'][:20]"), CHAT),
    "the end": (FIRST.replace("[0]['content']", "[0]['content'][-20:]"), CHAT),
    "the length": ("{{ messages[0]['content'] | length }} " + LAST, CHAT),
    "long chats alone": ("{% if messages | length > 2 %}" + FIRST + "{% else %}" + LAST + "{% endif %}", CHAT),
    "short chats alone": ("{% if messages | length < 3 %}" + FIRST + "{% else %}" + LAST + "{% endif %}", FEW_SHOT),
    "other questions": ("{% if '+' in messages[-1]['content'] %}" + LAST + "{% else %}" + FIRST + "{% endif %}", CHAT),
    "other personas": (
        "{% if 'sailor' in messages[0]['content'] %}" + LAST + "{% else %}" + FIRST + "{% endif %}",
        CHAT,
    ),
    "the question": (LAST, [{"role": "system", "content": "2+2?"}, USER]),
    "the question's words": (LAST, [SYSTEM, {"role": "user", "content": f"Who says: {SYSTEM['content']}"}]),
}
SHOWING = {
    "plain": (TEMPLATE, CHAT),
    "several": (TEMPLATE, FEW_SHOT),
    "spaces": (EACH.replace("%s", "{{ m['content'].split() | join('  ') }}"), CHAT),
    "escaped": (EACH.replace("%s", "{{ m['content'].upper() | tojson }}"), CHAT),
    "its own default": (
        "{% if messages[0]['role'] != 'system' %}<|system|>2+2?<|end|>{% endif %}" + TEMPLATE,
        [{"role": "system", "content": "2+2?"}, USER],
    ),
    "nothing to show": (LAST, [USER]),
    "an empty message": (LAST, [{"role": "system", "content": " "}, USER]),
}


def tokenizer(template: str) -> Any:
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("name", HIDING)
def test_a_template_that_hides_a_system_message_is_refused(name: str) -> None:
    template, chat = HIDING[name]
    with pytest.raises(BadInput, match="The chat template of org/tiny leaves out system messages, which carry"):
        chat_template.rendered(tokenizer(template), chat, "org/tiny")


@pytest.mark.parametrize("name", SHOWING)
def test_a_template_that_shows_the_system_message_is_taken(name: str) -> None:
    template, chat = SHOWING[name]
    assert chat_template.rendered(tokenizer(template), chat, "org/tiny")


@pytest.mark.parametrize("batch", [[CHAT], [[USER], CHAT], [[USER], FEW_SHOT]])
def test_the_engine_refuses_before_it_samples(tmp_path: Path, batch: list[Messages]) -> None:
    make_tiny_model(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(HIDING["no system"][0])
    engine = open_engine(Engine(tmp_path))
    requests = [Request(f"r{i}", chat, Sampling(max_tokens=2), i) for i, chat in enumerate(batch)]
    with pytest.raises(BadInput, match="leaves out system messages"):
        engine.sample(requests)
    with pytest.raises(BadInput, match="leaves out system messages"):
        engine.check(batch)
    with pytest.raises(BadInput, match="leaves out system messages"):
        next(iter(engine.stream(requests[-1])))


DEFAULT = "{%% if messages[0]['role'] == 'system' %%}%s{%% else %%}%s{%% endif %%}"
QWEN = DEFAULT % ("", "<|system|>You are Qwen.<|end|>\n") + TEMPLATE
LLAMA = "<|system|>Today: 26 Jul 2024\n{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% endif %}"
LLAMA += "<|end|><|user|>{{ messages[-1]['content'] }}<|end|><|assistant|>"
VICUNA = (
    DEFAULT % ("{{ messages[0]['content'] }}", "A chat with an assistant.") + " USER: {{ messages[-1]['content'] }}"
)
FOLDING = DEFAULT % ("<|user|>{{ messages[0]['content'] }}\n\n", "<|user|>") + LAST
REFUSING = DEFAULT % ("{{ raise_exception('no system') }}", "") + TEMPLATE


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (QWEN, "You are Qwen."),
        (LLAMA, "Today: 26 Jul 2024"),
        (VICUNA, "A chat with an assistant."),
        (TEMPLATE, ""),
        (FOLDING, ""),
        (REFUSING, ""),
        (LAST, ""),
        (DEFAULT % ("", "<|system|><|end|>\n") + TEMPLATE, ""),
    ],
)
def test_a_default_system_message_is_known(template: str, expected: str) -> None:
    assert chat_template.default_system(tokenizer(template), [USER], "org/tiny") == expected
