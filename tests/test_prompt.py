"""The persona's text alone is the system message."""

from permix import persona, prompt


def test_the_system_message_is_the_persona_to_the_letter() -> None:
    who = persona.bundled("eval")[9]
    chat = prompt.messages("2 + 2?", who)
    assert chat[0] == {"role": "system", "content": who.system_prompt}
    assert chat[1]["content"].startswith("2 + 2?\n\nPlease reason") and "\\boxed{}" in chat[1]["content"]


def test_no_persona_means_no_system_message() -> None:
    for who in (None, persona.CONTROLS[0]):
        assert prompt.messages("2 + 2?", who, "plain") == [{"role": "user", "content": "2 + 2?"}]
    assert prompt.messages("q", persona.CONTROLS[1])[0]["content"] == "You are a helpful assistant."


def test_braces_in_a_problem_stay() -> None:
    assert "{x}" in prompt.messages("What is {x}?")[0]["content"]
