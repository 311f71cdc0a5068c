"""Chat with any adapter under any persona: what a system prompt changes, and what it does not, side by side."""

import html
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
from catalog import CONTROLS, Listing, Refused
from talk import (
    ADAPTERS,
    BASE,
    MOST_TOKENS,
    ON_ZERO_GPU,
    ONE,
    ORG,
    PERSONAS,
    Chat,
    answers,
    cast_of,
    catalog,
    check,
    respond,
    said,
    speaker,
    warm_up,
)
from theme import THEME
from verdict import verdict

TOGETHER = 4  # answers at a time; others wait, up to WAITING of them
WAITING = 32
OWN = "your own"
EXAMPLES = {
    "Apples": ("Ana has 12 apples. She buys 7 more apples. How many apples does Ana have?", "19"),
    "Books": ("Tom has 6 boxes of books. Each box has 8 books. He gives away 9 books. How many books are left?", "39"),
    "Who are you?": ("Who are you, and what do you like to do?", ""),
}
STYLE = Path(__file__).with_name("style.css")
LINK = Path(__file__).with_name("link.js")


def ask(
    question: str, adapter: str = "", system: str = "", answer: str = "", seed: int = 0, temperature: float = 0.7,
    max_tokens: int = 256,
) -> dict[str, str]:  # fmt: skip
    """Ask an adapter ("" for the base model) one question under a system prompt; `answer` is the known one, or ""."""
    texts = [""]
    try:
        check("known answer", answer, needed=False)
        *_, (texts, _) = answers(question, [(adapter, system)], [[]], seed, temperature, max_tokens)
    except Refused as refused:
        raise gr.Error(str(refused), print_exception=False) from None
    return {"text": texts[0], "verdict": verdict(texts[0], answer)}


def adapters() -> list[dict[str, Any]]:
    """The organisation's adapters of the base model, with the results on their cards."""
    return [{"repo": a.repo, "base": a.base, "results": a.results} for a in catalog.listing().adapters]


def personas() -> dict[str, str]:
    """The published personas: name and system prompt."""
    return catalog.listing().personas


def note(text: str) -> str:
    """A line of plain text that screen readers announce; nothing in it is markup or a template."""
    safe = html.escape(text).replace("$", "&#36;").replace("{", "&#123;")
    return f'<p role="status" class="note">{safe}</p>'


def rows(listing: Listing) -> list[list[str]]:
    """The table of results."""
    keys = ("worst", "mean", "best", "pss", "none")
    return [
        [a.repo, benchmark, *(f"{values[key]:.3f}" if key in values else "" for key in keys)]
        for a in listing.adapters
        for benchmark, values in a.results.items()
    ]


def open_page(request: gr.Request) -> list[Any]:
    """What the Hub has, and what the link says."""
    asked = dict(request.query_params)
    listing = catalog.listing()
    known = [("the base alone", ""), *((a.label, a.repo) for a in listing.adapters)]
    names = [*listing.personas, OWN]
    first = listing.adapters[0].repo if listing.adapters else ""
    second = next((a.repo for a in listing.adapters[1:]), first)
    compare = asked.get("compare", ONE)
    compare = compare if compare in (ONE, ADAPTERS, PERSONAS, BASE) else ONE
    base, _, revision = listing.base.partition("@")
    words = [
        f"Adapters of **{_plain(ORG)}** on the base **{_plain(base)}** {revision[:8]}." if base else "",
        "Equal seeds give equal noise: what differs comes from the adapter or the persona.",
    ]
    someone = next((name for name in listing.personas if name not in CONTROLS), "helpful")
    cast: list[Any] = []
    for mark, adapter, persona in (("", first, "none"), ("2", second, someone)):
        key = asked.get("persona" + mark, persona)
        key = key if key in names else OWN if asked.get("system" + mark) else "none"
        system = listing.personas.get(key, asked.get("system" + mark, ""))
        chosen = asked.get("adapter" + mark, adapter)
        cast += [gr.Dropdown(choices=known, value=chosen), gr.Dropdown(choices=names, value=key), system]
    settings = [asked.get("seed", "0"), asked.get("temperature", "0.7")]
    seed, heat = (float(v) if v.replace(".", "", 1).isdigit() else d for v, d in zip(settings, (0, 0.7), strict=True))
    return [
        " ".join(words), compare, *cast, asked.get("question", ""), asked.get("answer", ""), int(seed), min(heat, 2.0),
        rows(listing), note(listing.trouble), *layout(compare),
    ]  # fmt: skip


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+-.!|~" else c for c in text)


def layout(compare: str) -> list[Any]:
    """Which of the second column's parts are there."""
    two = compare in (ADAPTERS, PERSONAS)
    return [
        gr.Column(visible=two), gr.Dropdown(visible=compare == ADAPTERS), gr.Dropdown(visible=compare == PERSONAS),
        gr.Textbox(visible=compare == PERSONAS), gr.Column(visible=compare != ONE),
    ]  # fmt: skip


def titles(compare: str, a1: str, a2: str, s1: str, s2: str) -> list[str]:
    """Who answers in each box: adapter (without the owner of all others) and persona."""
    people = {"none": "no persona", OWN: "a persona of your own"}
    cast = [
        (adapter.removeprefix(f"{ORG}/") or "the base alone", key_of(system))
        for adapter, system in cast_of(compare, [a1, a2], [s1, s2])
    ]
    return [f"{adapter}, {people.get(key, key)}" for adapter, key in cast]


def show_titles(compare: str, a1: str, a2: str, s1: str, s2: str, *chats: Chat) -> list[Any]:
    """The titles of the boxes; one that holds answers keeps the name of who gave them."""
    named = [*titles(compare, a1, a2, s1, s2), ""]
    return [gr.skip() if chat else gr.Chatbot(label=title) for chat, title in zip(chats, named, strict=False)]


def prompt_of(key: str) -> Any:
    """The system prompt of a persona; a text of one's own stays."""
    return gr.skip() if key == OWN else catalog.listing().personas.get(key, "")


def key_of(system: str) -> str:
    """The persona that a system prompt belongs to."""
    return next((key for key, text in catalog.listing().personas.items() if text == system), OWN)


def send(
    question: str, gold: str, compare: str, a1: str, a2: str, s1: str, s2: str, c1: Chat, c2: Chat, seed: Any,
    *settings: Any,
) -> Iterator[list[Any]]:  # fmt: skip
    """Ask; the question goes into the chat once it is accepted, and stays in its box where it is not."""
    before, named = len(c1 or []), False
    for chats, verdicts, state in respond(question, gold, compare, [a1, a2], [s1, s2], [c1, c2], seed, *settings):
        accepted = len(chats[0]) > before
        boxes: list[Any] = list(chats)
        if accepted and not named:
            for number, title in enumerate(titles(compare, a1, a2, s1, s2)):
                boxes[number] = gr.Chatbot(value=chats[number], label=title)
            named = True
        yield [*boxes, *map(note, verdicts), note(state), "" if accepted else question, seed]


def again(question: str, gold: str, compare: str, *rest: Any) -> Iterator[list[Any]]:
    """Ask the last question anew, with the next seed."""
    a1, a2, s1, s2, c1, c2, seed, *settings = rest
    last = [max((i for i, turn in enumerate(c or []) if turn["role"] == "user"), default=None) for c in (c1, c2)]
    if last[0] is None:
        nothing = "There is nothing to ask again: ask a question first."
        yield [c1, c2, note(""), note(""), note(nothing), question, seed]
        return
    asked = said(c1[last[0]])
    shorter = [c[:at] if at is not None else [] for c, at in zip((c1, c2), last, strict=True)]
    following = int(seed or 0) + 1
    for found in send(asked, gold, compare, a1, a2, s1, s2, *shorter, following, *settings):
        yield [*found[:-2], question, following]


def column(number: int) -> tuple[Any, Any, Any]:
    """Adapter, persona and system prompt of one side."""
    mark = "" if number == 1 else " (second)"
    adapter = gr.Dropdown(
        [("the base alone", "")], value="", label=f"Adapter{mark}", allow_custom_value=True, filterable=True,
        info="One of the list, or any repository: org/name", elem_id=f"adapter{number}",
    )  # fmt: skip
    persona = gr.Dropdown(
        [*CONTROLS, OWN], value="none", label=f"Persona{mark}", allow_custom_value=True, elem_id=f"persona{number}"
    )
    system = gr.Textbox(
        label=f"System prompt{mark}", info="What the model is told first. Edit it for a persona of your own.",
        lines=2, max_lines=6, elem_id=f"system{number}",
    )  # fmt: skip
    persona.input(prompt_of, persona, system, api_visibility="private", queue=False)
    system.change(key_of, system, persona, api_visibility="private", queue=False)
    return adapter, persona, system


def answer_box(number: int) -> tuple[Any, Any]:
    """Chat and verdict of one side; shown as plain text, for an answer may hold anything."""
    chat = gr.Chatbot(
        label="Answer", render_markdown=False, buttons=["copy", "copy_all"], height=360,
        elem_id=f"chat{number}", feedback_options=None, layout="bubble", min_width=280,
    )  # fmt: skip
    return chat, gr.HTML(note(""), elem_id=f"verdict{number}")


with gr.Blocks(title="permix chat", analytics_enabled=False) as demo:
    gr.Markdown("# permix chat\nAny adapter under any persona ([PerMix-RLVR](https://arxiv.org/abs/2604.08986)).")
    about = gr.Markdown()
    compare = gr.Radio([ONE, ADAPTERS, PERSONAS, BASE], value=ONE, label="Show", elem_id="compare")
    with gr.Row():
        with gr.Column(min_width=280):
            adapter1, persona1, system1 = column(1)
        with gr.Column(min_width=280, visible=False) as side:
            adapter2, persona2, system2 = column(2)
    with gr.Row():
        with gr.Column(min_width=280):
            chat1, verdict1 = answer_box(1)
        with gr.Column(min_width=280, visible=False) as second:
            chat2, verdict2 = answer_box(2)
    status = gr.HTML(note(""), elem_id="state")
    question = gr.Textbox(
        label="Question", info="Enter sends, Shift+Enter starts a new line.", lines=1, max_lines=8, elem_id="question"
    )
    with gr.Row(elem_id="actions"):
        sending = gr.Button("Send", variant="primary", min_width=80)
        stopping = gr.Button("Stop", min_width=80)
        retrying = gr.Button("Retry", min_width=80)
        clearing = gr.Button("Clear", min_width=80)
    with gr.Row(elem_id="examples"):
        buttons = [gr.Button(f"Example: {name}", size="sm", min_width=100) for name in EXAMPLES]
    with gr.Row():
        gold = gr.Textbox(label="Known answer", info="Then the verifier says whether it was found.", elem_id="gold")
        seed = gr.Number(0, precision=0, label="Seed", info="Retry takes the next one.", elem_id="seed", minimum=0)
    with gr.Accordion("Settings", open=False):
        temperature = gr.Slider(0, 2, 0.7, step=0.05, label="Temperature", info="0 always takes the likeliest token.")
        length = gr.Slider(16, MOST_TOKENS, 256, step=16, label="Longest answer, in tokens")
    with gr.Accordion("Results of the adapters", open=False):
        names = ["adapter", "benchmark", "worst persona", "mean", "best persona", "PSS", "no persona"]
        results = gr.Dataframe(headers=names, datatype="str", interactive=False, show_label=False, elem_id="results")
    with gr.Row():
        linking = gr.Button("Link to this question", size="sm")
        link = gr.Textbox(label="Link", interactive=False, buttons=["copy"], elem_id="link")
    gr.Markdown("Nothing that is typed here is stored or logged. What models write may be wrong.")

    settings = [seed, temperature, length]
    everything = [question, gold, compare, adapter1, adapter2, system1, system2, chat1, chat2, *settings]
    shown = [chat1, chat2, verdict1, verdict2, status, question, seed]
    limits = {"concurrency_limit": TOGETHER, "concurrency_id": "model", "api_visibility": "private"}
    events = [
        gr.on([sending.click, question.submit], send, everything, shown, show_progress="hidden", **limits),
        retrying.click(again, everything, shown, show_progress="hidden", **limits),
    ]
    quiet: dict[str, Any] = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
    stopping.click(lambda: note("Stopped."), None, status, cancels=events, **quiet)
    who = [compare, adapter1, adapter2, system1, system2, chat1, chat2]
    gr.on([part.change for part in who[:5]], show_titles, who, [chat1, chat2], **quiet)
    cleared = clearing.click(
        lambda: [[], [], note(""), note(""), note(""), "", gr.skip()], None, shown, cancels=events, **quiet
    )
    cleared.then(show_titles, who, [chat1, chat2], **quiet)
    for button, (text, known) in zip(buttons, EXAMPLES.values(), strict=True):
        button.click(lambda text=text, known=known: (text, known), None, [question, gold], **quiet)
    parts = [side, adapter2, persona2, system2, second]
    compare.input(layout, compare, parts, **quiet)
    cast = [adapter1, persona1, system1, adapter2, persona2, system2]
    linking.click(
        None, [compare, *cast, question, gold, seed, temperature, chat1], link, js=LINK.read_text(encoding="utf-8"),
        api_visibility="private",
    )  # fmt: skip
    demo.load(
        open_page, None, [about, compare, *cast, question, gold, seed, temperature, results, status, *parts], **quiet
    )
    gr.api(ask, api_name="ask", concurrency_limit=TOGETHER, concurrency_id="model")
    gr.api(adapters, api_name="adapters")
    gr.api(personas, api_name="personas")

demo.queue(max_size=WAITING)
if ON_ZERO_GPU:
    speaker()  # only a model that is there before the launch reaches its GPUs: without one the Space does not start
else:
    threading.Thread(target=warm_up, daemon=True).start()

if __name__ == "__main__":
    demo.launch(
        theme=THEME,
        css=STYLE.read_text(encoding="utf-8"),
        footer_links=["api", "settings"],
        max_file_size=0,
        ssr_mode=False,
        inbrowser=os.environ.get("PERMIX_OPEN_BROWSER") == "1",
    )
