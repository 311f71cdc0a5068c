"""Chat with any adapter under any persona; two answers side by side show the effect of a system prompt."""

import html
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
from catalog import CONTROLS, Listing
from models import ORG, Refused
from talk import (
    ADAPTERS,
    BASE,
    MOST_TOKENS,
    ON_ZERO_GPU,
    ONE,
    PERSONAS,
    Chat,
    answers,
    cast_of,
    catalog,
    check,
    respond,
    speaker,
    text_of,
    warm_up,
)
from theme import THEME
from verdict import verdict

TOGETHER = 4  # answers at a time; up to WAITING more wait
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
    max_tokens: int = 512, top_p: float = 1.0,
) -> dict[str, str]:  # fmt: skip
    """Ask an adapter ("" for the base model) one question under a system prompt; `answer` is the known one, or ""."""
    texts = [""]
    try:
        check("known answer", answer, needed=False)
        *_, (texts, _) = answers(question, [(adapter, system)], [[]], seed, temperature, max_tokens, top_p)
    except Refused as refused:
        raise gr.Error(str(refused), print_exception=False) from None
    return {"text": texts[0], "verdict": verdict(texts[0], answer)}


def adapters() -> list[dict[str, Any]]:
    """List the organisation's adapters of the base model, with the results on their cards."""
    return [{"repo": a.repo, "base": a.base, "results": a.results} for a in catalog.listing().adapters]


def personas() -> dict[str, str]:
    """List the published personas: {name: system prompt}."""
    return catalog.listing().personas


def note(text: str) -> str:
    """A line of plain text that screen readers announce, without markup or templates."""
    safe = html.escape(text).replace("$", "&#36;").replace("{", "&#123;")
    return f'<p role="status" class="note">{safe}</p>'


def rows(listing: Listing) -> list[list[str]]:
    """The rows of the table of results."""
    keys = ("worst", "mean", "best", "pss", "none")
    return [
        [a.repo, benchmark, *(f"{values[key]:.3f}" if key in values else "" for key in keys)]
        for a in listing.adapters
        for benchmark, values in a.results.items()
    ]


def open_page(request: gr.Request) -> list[Any]:
    """Fill the page from the Hub and from the parameters of its link."""
    query = dict(request.query_params)
    listing = catalog.listing()
    known = [("the base alone", ""), *((a.label, a.repo) for a in listing.adapters)]
    names = [*listing.personas, OWN]
    first = listing.adapters[0].repo if listing.adapters else ""
    second = next((a.repo for a in listing.adapters[1:]), first)
    compare = query.get("compare", ONE)
    compare = compare if compare in (ONE, ADAPTERS, PERSONAS, BASE) else ONE
    base, _, revision = listing.base.partition("@")
    words = [
        f"Adapters of **{_plain(ORG)}** on the base **{_plain(base)}** {revision[:8]}." if base else "",
        "Equal seeds give equal noise: two answers differ by adapter or persona only.",
    ]
    someone = next((name for name in listing.personas if name not in CONTROLS), "helpful")
    cast: list[Any] = []
    for mark, adapter, persona in (("", first, "none"), ("2", second, someone)):
        key = query.get("persona" + mark, persona)
        key = key if key in names else OWN if query.get("system" + mark) else "none"
        system = listing.personas.get(key, query.get("system" + mark, ""))
        chosen = query.get("adapter" + mark, adapter)
        cast += [gr.Dropdown(choices=known, value=chosen), gr.Dropdown(choices=names, value=key), system]
    defaults = {"seed": 0, "temperature": 0.7, "top_p": 1}
    texts = {key: query.get(key, "") for key in defaults}
    seed, temperature, top_p = (float(v) if v.replace(".", "", 1).isdigit() else defaults[k] for k, v in texts.items())
    return [
        " ".join(words), compare, *cast, query.get("question", ""), query.get("answer", ""), int(seed),
        min(temperature, 2.0), min(max(top_p, 0.05), 1.0), rows(listing), note(listing.trouble), *layout(compare),
    ]  # fmt: skip


def _plain(text: str) -> str:
    """Escape `text` for Markdown."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+-.!|~" else c for c in text)


def layout(compare: str) -> list[Any]:
    """Show the parts of the second column that `compare` needs."""
    two = compare in (ADAPTERS, PERSONAS)
    return [
        gr.Column(visible=two), gr.Dropdown(visible=compare == ADAPTERS), gr.Dropdown(visible=compare == PERSONAS),
        gr.Textbox(visible=compare == PERSONAS), gr.Column(visible=compare != ONE),
    ]  # fmt: skip


def titles(compare: str, a1: str, a2: str, s1: str, s2: str) -> list[str]:
    """The title of each chat box: adapter (without this page's organisation) and persona."""
    names = {"none": "no persona", OWN: "a persona of your own"}
    cast = [
        (adapter.removeprefix(f"{ORG}/") or "the base alone", key_of(system))
        for adapter, system in cast_of(compare, [a1, a2], [s1, s2])
    ]
    return [f"{adapter}, {names.get(key, key)}" for adapter, key in cast]


def show_titles(compare: str, a1: str, a2: str, s1: str, s2: str, *chats: Chat) -> list[Any]:
    """Update the titles of the boxes; a box with answers keeps the title that it had for them."""
    labels = [*titles(compare, a1, a2, s1, s2), ""]
    return [gr.skip() if chat else gr.Chatbot(label=title) for chat, title in zip(chats, labels, strict=False)]


def prompt_of(key: str) -> Any:
    """Return the system prompt of a persona; keep a text of the visitor's own."""
    return gr.skip() if key == OWN else catalog.listing().personas.get(key, "")


def key_of(system: str) -> str:
    """Return the persona of a system prompt."""
    return next((key for key, text in catalog.listing().personas.items() if text == system), OWN)


def send(
    question: str, gold: str, compare: str, a1: str, a2: str, s1: str, s2: str, c1: Chat, c2: Chat, seed: Any,
    *settings: Any,
) -> Iterator[list[Any]]:  # fmt: skip
    """Ask; an accepted question moves into the chat, a refused one stays in its box."""
    before, titled = len(c1 or []), False
    for chats, verdicts, state in respond(question, gold, compare, [a1, a2], [s1, s2], [c1, c2], seed, *settings):
        accepted = len(chats[0]) > before
        boxes: list[Any] = list(chats)
        if accepted and not titled:
            for number, title in enumerate(titles(compare, a1, a2, s1, s2)):
                boxes[number] = gr.Chatbot(value=chats[number], label=title)
            titled = True
        yield [*boxes, *map(note, verdicts), note(state), "" if accepted else question, seed]


def again(question: str, gold: str, compare: str, *rest: Any) -> Iterator[list[Any]]:
    """Ask the last question again with the next seed."""
    a1, a2, s1, s2, c1, c2, seed, *settings = rest
    last = [max((i for i, turn in enumerate(c or []) if turn["role"] == "user"), default=None) for c in (c1, c2)]
    if last[0] is None:
        nothing = "The chat is empty: ask a question first."
        yield [c1, c2, note(""), note(""), note(nothing), question, seed]
        return
    previous = text_of(c1[last[0]])
    shorter = [c[:at] if at is not None else [] for c, at in zip((c1, c2), last, strict=True)]
    following = int(seed or 0) + 1
    for update in send(previous, gold, compare, a1, a2, s1, s2, *shorter, following, *settings):
        yield [*update[:-2], question, following]


def column(number: int) -> tuple[Any, Any, Any]:
    """The adapter, persona and system prompt of one side."""
    mark = "" if number == 1 else " (second)"
    adapter = gr.Dropdown(
        [("the base alone", "")], value="", label=f"Adapter{mark}", allow_custom_value=True, filterable=True,
        info="From the list, or any repository: org/name", elem_id=f"adapter{number}",
    )  # fmt: skip
    persona = gr.Dropdown(
        [*CONTROLS, OWN], value="none", label=f"Persona{mark}", allow_custom_value=True, elem_id=f"persona{number}"
    )
    system = gr.Textbox(
        label=f"System prompt{mark}", info="Edit it for a persona of your own.",
        lines=2, max_lines=6, elem_id=f"system{number}",
    )  # fmt: skip
    persona.input(prompt_of, persona, system, api_visibility="private", queue=False)
    system.change(key_of, system, persona, api_visibility="private", queue=False)
    return adapter, persona, system


def answer_box(number: int) -> tuple[Any, Any]:
    """The chat and verdict of one side, as plain text: an answer can contain markup."""
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
        gold = gr.Textbox(label="Known answer", info="The verifier compares each answer with it.", elem_id="gold")
        seed = gr.Number(0, precision=0, label="Seed", info="Retry uses the next seed.", elem_id="seed", minimum=0)
    with gr.Accordion("Settings", open=False):
        temperature = gr.Slider(
            0, 2, 0.7, step=0.05, label="Temperature", info="0 always takes the most probable token."
        )
        top_p = gr.Slider(
            0.05, 1, 1, step=0.05, label="Top-p", info="Sample from the most probable tokens with this total."
        )
        length = gr.Slider(16, MOST_TOKENS, 512, step=16, label="Longest answer, in tokens")
    with gr.Accordion("Results of the adapters", open=False):
        names = ["adapter", "benchmark", "worst persona", "mean", "best persona", "PSS", "no persona"]
        results = gr.Dataframe(headers=names, datatype="str", interactive=False, show_label=False, elem_id="results")
    with gr.Row():
        linking = gr.Button("Link to this question", size="sm")
        link = gr.Textbox(label="Link", interactive=False, buttons=["copy"], elem_id="link")
    gr.Markdown("This page neither stores nor logs what you type. Models can be wrong.")

    settings = [seed, temperature, length, top_p]
    everything = [question, gold, compare, adapter1, adapter2, system1, system2, chat1, chat2, *settings]
    outputs = [chat1, chat2, verdict1, verdict2, status, question, seed]
    limits = {"concurrency_limit": TOGETHER, "concurrency_id": "model", "api_visibility": "private"}
    events = [
        gr.on([sending.click, question.submit], send, everything, outputs, show_progress="hidden", **limits),
        retrying.click(again, everything, outputs, show_progress="hidden", **limits),
    ]
    quiet: dict[str, Any] = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
    stopping.click(lambda: note("Stopped."), None, status, cancels=events, **quiet)
    speakers = [compare, adapter1, adapter2, system1, system2]
    titled = [*speakers, chat1, chat2]
    gr.on([part.change for part in speakers], show_titles, titled, [chat1, chat2], **quiet)
    cleared = clearing.click(
        lambda: [[], [], note(""), note(""), note(""), "", gr.skip()], None, outputs, cancels=events, **quiet
    )
    cleared.then(show_titles, titled, [chat1, chat2], **quiet)
    for button, (text, known) in zip(buttons, EXAMPLES.values(), strict=True):
        button.click(lambda text=text, known=known: (text, known), None, [question, gold], **quiet)
    parts = [side, adapter2, persona2, system2, second]
    compare.input(layout, compare, parts, **quiet)
    cast = [adapter1, persona1, system1, adapter2, persona2, system2]
    linking.click(
        None, [compare, *cast, question, gold, seed, temperature, top_p, chat1], link,
        js=LINK.read_text(encoding="utf-8"), api_visibility="private",
    )  # fmt: skip
    demo.load(
        open_page,
        None,
        [about, compare, *cast, question, gold, seed, temperature, top_p, results, status, *parts],
        **quiet,
    )
    gr.api(ask, api_name="ask", concurrency_limit=TOGETHER, concurrency_id="model")
    gr.api(adapters, api_name="adapters")
    gr.api(personas, api_name="personas")

demo.queue(max_size=WAITING)
if ON_ZERO_GPU:
    speaker()  # ZeroGPU moves only models loaded before the launch; without a base the Space does not start
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
