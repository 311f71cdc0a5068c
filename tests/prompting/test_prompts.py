"""The persona's text alone is the system message."""

from permix.prompting import persona, prompts


def test_the_system_message_is_the_persona_to_the_letter() -> None:
    who = persona.bundled("eval")[9]
    chat = prompts.messages("2 + 2?", who)
    assert chat[0] == {"role": "system", "content": who.system_prompt}
    assert chat[1]["content"].startswith("2 + 2?\n\nPlease reason") and "\\boxed{}" in chat[1]["content"]


def test_no_persona_means_no_system_message() -> None:
    for who in (None, persona.CONTROLS[0]):
        assert prompts.messages("2 + 2?", who, "plain") == [{"role": "user", "content": "2 + 2?"}]
    assert prompts.messages("q", persona.CONTROLS[1])[0]["content"] == "You are a helpful assistant."


def test_braces_in_a_problem_stay() -> None:
    assert "{x}" in prompts.messages("What is {x}?")[0]["content"]


def test_a_rewriting_prompt_holds_its_texts_to_the_letter() -> None:
    who = persona.Persona("odd", "Own", "You are $rich and {curly}.")
    (asked,) = prompts.rewriting("Costs $5?", "It is \\boxed{5}, $question.", who)
    for text in ("You are $rich and {curly}.", "Costs $5?", "It is \\boxed{5}, $question.", "inside \\boxed{}"):
        assert text in asked["content"]
    again = prompts.rewriting_again([asked], "Arr!", "Too short.", "5")
    assert [m["role"] for m in again] == ["user", "assistant", "user"] and again[1]["content"] == "Arr!"
    assert again[2]["content"].startswith("Too short. Write") and "the final answer 5 inside" in again[2]["content"]
