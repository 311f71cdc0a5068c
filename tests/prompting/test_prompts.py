"""The persona's text alone is the system message."""

from permix.prompting import persona, prompts


def test_the_system_message_is_the_persona_to_the_letter() -> None:
    speaker = persona.bundled("eval")[9]
    chat = prompts.messages("2 + 2?", speaker)
    assert chat[0] == {"role": "system", "content": speaker.system_prompt}
    assert chat[1]["content"].startswith("2 + 2?\n\nPlease reason")
    assert "\\boxed{}" in chat[1]["content"]


def test_no_persona_means_no_system_message() -> None:
    for speaker in (None, persona.CONTROLS[0]):
        assert prompts.messages("2 + 2?", speaker, "plain") == [{"role": "user", "content": "2 + 2?"}]
    assert prompts.messages("q", persona.CONTROLS[1])[0]["content"] == "You are a helpful assistant."


def test_braces_in_a_problem_stay() -> None:
    assert "{x}" in prompts.messages("What is {x}?")[0]["content"]


def test_a_rewriting_prompt_holds_its_texts_to_the_letter() -> None:
    speaker = persona.Persona("odd", "Own", "You are $rich and {curly}.")
    (chat,) = prompts.rewriting("Costs $5?", "It is \\boxed{5}, $question.", speaker)
    for text in ("You are $rich and {curly}.", "Costs $5?", "It is \\boxed{5}, $question.", "inside \\boxed{}"):
        assert text in chat["content"]
    again = prompts.rewriting_again([chat], "Arr!", "Too short.", "5")
    assert [m["role"] for m in again] == ["user", "assistant", "user"]
    assert again[1]["content"] == "Arr!"
    assert again[2]["content"].startswith("Too short. Write")
    assert "the final answer 5 inside" in again[2]["content"]
