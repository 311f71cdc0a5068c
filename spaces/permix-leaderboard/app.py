"""The leaderboard of one organisation's sweeps: how far personas move each variant, with its answers."""

import os
import signal
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import arena
import artifacts
import gradio as gr
import measuring
import pandas as pd
import shown
from artifacts import ABSENT, CASES, TABLES, UNREADABLE, Artifact
from models import ORG
from theme import THEME

SOURCE = artifacts.Source(ORG)
MEASURE = os.environ.get("PERMIX_MEASURE", "")  # "local" or the image of a Job; "" omits the tab
ARENA = os.environ.get("PERMIX_ARENA", "")  # minutes between two commits of votes; "" omits the tab
DISK = Path("/data")  # the persistent storage of a Space
DATA = Path(os.environ.get("PERMIX_DATA") or (DISK if os.access(DISK, os.W_OK) else tempfile.gettempdir()))
FAILURES = (*ABSENT, *UNREADABLE)
PICTURES = ("summary", "personas", "lottery", "tradeoff", "styles", "dynamics")
KINDS: dict[str, Literal["str", "markdown"]] = {  # of the table's columns; the others are numbers
    "variant": "str",
    "n": "str",
    "PSS, 95 %": "str",
    "floor": "str",
    "artifact": "markdown",
}
ROBUSTNESS = {"PSS": "pss", "corrected PSS": "pss_corrected", "worst accuracy": "worst"}


def table(benchmark: str = "", base: str = "", seed: str = "") -> list[dict[str, Any]]:
    """List the sweeps that pass the filters ("" passes all): every number, with the artifact and its revision."""
    board = SOURCE.board()
    rows = shown.chosen(board, benchmark, base, seed)
    return [row | {"revision": board.artifacts[row["repo"]].sha} for row in rows]


def completions(repo: str, benchmark: str, persona: str, problem: str) -> list[dict[str, Any]]:
    """List a sweep's rows for one persona and problem, one for each run."""
    try:
        return artifacts.answers(_artifact(repo), benchmark, persona, problem)
    except FAILURES as error:
        raise gr.Error(f"{repo} cannot be read ({type(error).__name__}).", print_exception=False) from None


def look(benchmark: str | None, base: str, seed: str) -> list[Any]:
    """Return the table and the choices; a filter without any row is reset."""
    board = SOURCE.board()
    values = {name: artifacts.options(board.sweeps, name) for name in ("benchmark", "base", "seed")}
    choices = {name: [("all", ""), *((str(v), str(v)) for v in column)] for name, column in values.items()}
    if benchmark is None:  # a new page: one benchmark is easier to read than all
        benchmark = choices["benchmark"][1][1] if board.sweeps else ""
    filters = {"benchmark": benchmark, "base": base, "seed": seed}
    filters = {name: value if value in dict(choices[name]).values() else "" for name, value in filters.items()}
    rows = shown.chosen(board, **filters)
    frame, judged = shown.table(rows, board), shown.preferences(board)
    return [
        shown.status(board, ORG),
        _version(board),
        *(gr.Dropdown(choices[name], value=filters[name]) for name in filters),
        gr.Dataframe(frame, datatype=[KINDS.get(name, "number") for name in frame.columns]),
        shown.download(rows, board, ORG) if rows else "",
        gr.Dataframe(judged, visible=bool(len(judged))),
        _names(board.of(CASES)),
        _names(board.of(TABLES)),
    ]


def look_anew(benchmark: str, base: str, seed: str) -> list[Any]:
    """Return as `look` after reading the Hub again."""
    SOURCE.board(anew=True)
    return look(benchmark, base, seed)


def tick(seen: str) -> tuple[str, Any]:
    """Return the status line, and the version of the board if it differs from the page's."""
    board = SOURCE.board()
    return shown.status(board, ORG), gr.skip() if _version(board) == seen else _version(board)


def heat(benchmark: str, base: str, seed: str, measure: str) -> str:
    """The heat map."""
    return shown.heat(shown.chosen(SOURCE.board(), benchmark, base, seed), measure)


def scatter(benchmark: str, base: str, seed: str, robustness: str, fidelity: str | None) -> tuple[Any, Any]:
    """Return the measures of fidelity that any sweep has, and the scatter."""
    rows = shown.chosen(SOURCE.board(), benchmark, base, seed)
    known = shown.measured(rows)
    chosen = fidelity if fidelity in known else next(iter(known), "voice")
    points = shown.points(rows, ROBUSTNESS[robustness], chosen)
    x, y = shown.limits(points["fidelity"]), shown.limits(points["robustness"])
    plot = gr.ScatterPlot(points, x_title=chosen, y_title=robustness, x_lim=x, y_lim=y, visible=bool(len(points)))
    return gr.Dropdown(known, value=chosen if known else None), plot


def sides(benchmark: str, base: str, seed: str, first: str, second: str, persona: str) -> list[Any]:
    """Return the choices of sweeps and personas."""
    rows = shown.chosen(SOURCE.board(), benchmark, base, seed)
    choices = [(row["label"], f"{row['repo']}|{row['benchmark']}") for row in rows]
    keys = {key for row in rows for key in row["accuracy"]}
    ordered = sorted(keys, key=lambda key: (key in artifacts.CONTROLS, key))
    return [_dropdown(choices, first), _dropdown(choices, second, at=1), _dropdown([(p, p) for p in ordered], persona)]


def problems(opened: bool, first: str | None, second: str | None, persona: str | None) -> Any:
    """Return the problems of both sweeps, the largest difference of scores first."""
    if not opened:
        return gr.skip()
    if not (first and second and persona) or first.partition("|")[2] != second.partition("|")[2]:
        return _dropdown([], "")
    try:
        a, b = (artifacts.conditions(*_sweep(side), persona) for side in (first, second))
    except FAILURES:
        return _dropdown([], "")
    shared = [problem for problem in a if problem in b]
    shared.sort(key=lambda p: -abs(sum(a[p]) / len(a[p]) - sum(b[p]) / len(b[p])))
    names = [f"{p}: {sum(a[p]):g} of {len(a[p])} | {sum(b[p]):g} of {len(b[p])} right" for p in shared]
    return _dropdown(list(zip(names, shared, strict=True)), "")


def compare(first: str | None, second: str | None, persona: str | None, problem: str | None) -> str:
    """Show the completions of both sweeps side by side."""
    if not (first and second and persona and problem):
        return shown.sentence("Choose two sweeps on one benchmark, a persona and a problem.")
    try:
        sweeps = [_sweep(side) for side in (first, second)]
        answers = [(artifact, artifacts.answers(artifact, on, persona, problem)) for artifact, on in sweeps]
    except FAILURES as error:
        return shown.sentence(f"The answers cannot be read ({type(error).__name__}): the Hub or the file is missing.")
    links = " · ".join(shown.link(artifact) for artifact, _ in answers)
    rows = [row for _, rows in answers for row in rows]
    texts = {name: next((row[name] for row in rows if row.get(name)), "") for name in artifacts.TEXTS}
    texts["question"] = texts["question"] or artifacts.question(SOURCE.board(), problem)
    sides = shown.side_by_side((artifact.name, rows) for artifact, rows in answers)
    return f"{shown.problem(**texts)}{sides}<p>{links}</p>"


def case_numbers(opened: bool, repo: str | None) -> Any:
    """Return the choices of one artifact's cases."""
    if not opened:
        return gr.skip()
    rows = _cases(repo)
    names = {row["case"]: f"{row['case']}: {row['persona']}, {row['problem_id']} ({row['rule']})" for row in rows}
    return _dropdown([(name, number) for number, name in names.items()], None)


def case(repo: str | None, number: int | None) -> str:
    """Show one case with every variant's answer."""
    rows = [row for row in _cases(repo) if row["case"] == number]
    if not repo or not rows:
        return shown.sentence("No cases are published." if not repo else "This artifact does not contain the case.")
    return f"{shown.case(rows)}<p>{shown.link(_artifact(repo))}</p>"


def claims(opened: bool, repo: str | None) -> Any:
    """Show the statements of the paper with both verdicts, and the figures."""
    if not opened:
        return gr.skip()
    if not repo:
        return shown.sentence("No tables are published.")
    try:
        artifact = _artifact(repo)
        body = shown.statements(artifact.json("run.json"))
        pictures = {name: data for name in PICTURES if (data := _picture(artifact, name))}
    except FAILURES as error:
        return shown.sentence(f"{repo} cannot be read ({type(error).__name__}).")
    return body + shown.figures(pictures) + f"<p>{shown.link(artifact)}</p>"


def report(repo: str | None) -> str:
    """Show the published report."""
    if not repo:
        return shown.sentence("No report is published.")
    try:
        return shown.report(_artifact(repo).file("report.html").read_text(encoding="utf-8"))
    except FAILURES as error:
        return shown.sentence(f"The report cannot be read ({type(error).__name__}).")


def _artifact(repo: str) -> Artifact:
    return SOURCE.board().artifacts[repo]


def _sweep(side: str) -> tuple[Artifact, str]:
    """The sweep and the benchmark of a choice."""
    repo, _, benchmark = side.partition("|")
    return _artifact(repo), benchmark


def _cases(repo: str | None) -> list[dict[str, Any]]:
    try:
        return artifacts.cases(_artifact(repo)) if repo else []
    except FAILURES:
        return []


def _picture(artifact: Artifact, name: str) -> bytes:
    try:
        return artifact.file(f"figures/{name}.png").read_bytes()
    except ABSENT:  # the figures depend on the measures
        return b""


def _version(board: artifacts.Board) -> str:
    return " ".join(artifact.sha for artifact in board.artifacts.values()) + str(board.notes)


def _names(published: Sequence[Artifact]) -> Any:
    return _dropdown([(f"{a.name}@{a.sha[:7]}", a.repo) for a in published], "")


def _dropdown(choices: Sequence[tuple[str, Any]], value: Any, at: int = 0) -> Any:
    """Return the choices; select `value`, or the choice at `at` if `value` is not among them."""
    values = [choice for _, choice in choices]
    fallback = values[min(at, len(values) - 1)] if values else None
    return gr.Dropdown(list(choices), value=value if value in values else fallback)


def choice(label: str, choices: Sequence[tuple[str, str]] = (), value: str | None = None) -> gr.Dropdown:
    """A dropdown without gradio's check of its value, which can leave the choices while an answer is on its way.

    Every function above looks the value up in the published artifacts.
    """
    return gr.Dropdown(list(choices), value=value, label=label, allow_custom_value=True)


def once_opened(tab: gr.Tab) -> gr.State:
    """Return a state that is True once the visitor has opened the tab, so that its data is not read before."""
    opened = gr.State(False)
    tab.select(lambda: True, None, opened, show_progress="hidden", api_visibility="private")
    return opened


with gr.Blocks(title="permix leaderboard", fill_width=True) as demo:
    gr.Markdown(
        "# permix leaderboard\nHow far the persona in the system prompt moves a model's answers, variant by variant."
    )
    status = gr.HTML()
    seen, newer = gr.State(""), gr.State("")
    with gr.Row():
        benchmark = choice("benchmark")
        base = choice("base model", [("all", "")], "")
        seed = choice("seed", [("all", "")], "")
        again = gr.Button("Look again", scale=0, min_width=140)
    with gr.Tab("Table"):
        board = gr.Dataframe(label="sweeps", interactive=False, wrap=False, max_height=700, elem_id="sweeps")
        csv = gr.HTML()
        gr.Markdown(shown.LEGEND)
    with gr.Tab("Personas"):
        measure = gr.Radio(["accuracy", "voice"], value="accuracy", label="shown")
        map_ = gr.HTML()
    with gr.Tab("Robustness and fidelity"):
        with gr.Row():
            robustness = gr.Dropdown(list(ROBUSTNESS), value="PSS", label="robustness")
            fidelity = choice("fidelity")
        plot = gr.ScatterPlot(pd.DataFrame(), x="fidelity", y="robustness", color="variant", tooltip="all", height=420)
        judged = gr.Dataframe(label="pairwise preferences by judge", interactive=False)
    with gr.Tab("Answers") as answers_tab:
        with gr.Row():
            first = choice("first sweep")
            second = choice("second sweep")
        with gr.Row():
            persona = choice("persona")
            problem = choice("problem (largest difference first)")
        comparison = gr.HTML()
    with gr.Tab("Cases") as cases_tab:
        with gr.Row():
            cases_of = choice("artifact")
            number = choice("case")
        one_case = gr.HTML()
    with gr.Tab("Claims and report") as claims_tab:
        tables_of = choice("artifact")
        statements = gr.HTML()
        open_report = gr.Button("Show the report")
        page = gr.HTML()

    quiet: dict[str, Any] = {"api_visibility": "undocumented", "show_progress": "hidden"}
    filters = [benchmark, base, seed]
    everything = [status, seen, *filters, board, csv, judged, cases_of, tables_of]
    opened = demo.load(lambda: look(None, "", ""), None, everything, api_name="look", **quiet)
    triggers = [part.input for part in filters] + [newer.change]
    looked = gr.on(triggers, look, filters, everything, trigger_mode="always_last", api_name="filter", **quiet)
    pressed = again.click(look_anew, filters, everything, api_name="again", **quiet)
    for event in (opened, looked, pressed):
        event.then(heat, [*filters, measure], map_, api_name="heat", **quiet)
        event.then(scatter, [*filters, robustness, fidelity], [fidelity, plot], api_name="scatter", **quiet)
        event.then(sides, [*filters, first, second, persona], [first, second, persona], api_name="sides", **quiet)
    measure.input(heat, [*filters, measure], map_, api_visibility="private")
    gr.on(
        [robustness.input, fidelity.input],
        scatter,
        [*filters, robustness, fidelity],
        [fidelity, plot],
        api_visibility="private",
    )
    lazy: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden", "api_visibility": "private"}
    looking, sides_of = once_opened(answers_tab), [first, second, persona]
    changed = [looking.change, *(part.change for part in sides_of)]
    gr.on(changed, problems, [looking, *sides_of], problem, **lazy).then(
        compare, [*sides_of, problem], comparison, **lazy
    )
    problem.input(compare, [*sides_of, problem], comparison, api_visibility="private")
    looking = once_opened(cases_tab)
    numbered = gr.on([looking.change, cases_of.change], case_numbers, [looking, cases_of], number, **lazy)
    numbered.then(case, [cases_of, number], one_case, **lazy)
    number.input(case, [cases_of, number], one_case, api_visibility="private")
    looking = once_opened(claims_tab)
    gr.on([looking.change, tables_of.change], claims, [looking, tables_of], statements, **lazy)
    open_report.click(report, tables_of, page, api_name="report", **quiet)
    if MEASURE:
        recipe, flavor = (os.environ.get(f"PERMIX_MEASURE_{name}") for name in ("RECIPE", "FLAVOR"))
        measuring.tab(SOURCE, measuring.Queue(ORG, MEASURE, recipe or "laptop", flavor or "cpu-upgrade"))
    if ARENA:
        arena.tab(SOURCE, arena.Box(ORG, float(ARENA), DATA / f"permix-votes-{ORG}"))
    gr.Timer(60).tick(tick, seen, [status, newer], show_progress="hidden", api_visibility="private")
    gr.api(table)  # type: ignore[attr-defined]
    gr.api(completions)  # type: ignore[attr-defined]

demo.queue(default_concurrency_limit=8)
threading.Thread(target=SOURCE.board, daemon=True).start()  # the first visitor does not wait for the Hub

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stopped Space publishes its last votes
    demo.launch(theme=THEME, css=shown.CSS)
