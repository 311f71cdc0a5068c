"""The metric's page: PSS and its companions from a table of scores or accuracies."""

import io
import math
import re
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd
from pss_core import compute
from theme import THEME

LEVELS = {"math expert": 7, "grandma": 6, "kindergarten": 4, "pirate": 6}  # invented: easy problems out of 10
EXAMPLE = "persona,problem,run,score\n" + "".join(
    f"{persona},{problem},{run},{int((problem * 7 + run) % 10 < level)}\n"
    for persona, level in LEVELS.items()
    for problem in range(40)
    for run in range(2)
)
ROWS = 1_000_000
LABELS = ("persona", "problem", "run")
MISSING = ("", "NA", "N/A", "NaN", "nan", "None", "null", "NULL")
README = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
SHOWN = {
    "pss": "PSS = worst / best",
    "pss_corrected": "PSS, noise-corrected",
    "worst": "worst accuracy",
    "best": "best accuracy",
    "mean": "mean accuracy",
    "pss_null": "PSS expected without a persona effect (its 95 % range)",
    "p_value": "p-value: as low a PSS without a persona effect",
    "gap": "best - worst",
    "worst_quarter": "mean of the worst quarter of personas",
    "std_personas": "standard deviation over personas",
    "mean_of_run_pss": "mean of the per-run PSS",
    "std_runs": "standard deviation over runs",
    "problems": "problems",
    "runs": "runs",
}


def measure(text: str, file: str | None, seed: float | None) -> tuple[str, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return a sentence, the numbers and the accuracy of each persona, from CSV text or an uploaded file.

    One row per score: the columns `persona` and `score` (in [0, 1]), and, where known, `problem` and `run`.
    """
    try:
        content = Path(file).read_bytes() if file else text.encode()
        header = [str(name) for name in pd.read_csv(io.BytesIO(content), nrows=0).columns]
        names = [re.sub(r"\.\d+$", "", name).strip().lower().removesuffix("s") for name in header]
        labels = {name: str for name, plain in zip(header, names, strict=True) if plain in LABELS}
        missing = {name: MISSING for name in header if name not in labels}  # a persona may be called None
        table = pd.read_csv(io.BytesIO(content), nrows=ROWS + 1, dtype=labels, na_values=missing, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise refused(f"This is not a CSV table ({error}): give a header and one row per score.") from None
    table.columns = names
    if not {"score", "persona"} <= set(names):
        raise refused(f"The columns are {', '.join(names)}: score and persona are required, problem and run optional.")
    for name in ("score", *LABELS):
        if names.count(name) > 1:
            raise refused(f"The table has {names.count(name)} columns {name}: leave one of them.")
    if len(table) > ROWS:
        raise refused(f"The table has more than {ROWS:,} rows: use the metric in Python instead.")
    labels = {name: [cell or None for cell in table[name]] for name in LABELS if name in names}
    try:
        result = compute(
            table["score"].tolist(), *(labels.get(k) for k in ("persona", "problem", "run")), int(seed or 0)
        )
    except ValueError as error:
        raise refused(str(error)) from None
    accuracies = people(result)
    return sentence(result), numbers(result), accuracies[["persona", "accuracy"]], accuracies


def refused(reason: str) -> gr.Error:
    """The error of a faulty input, shown on the page and not logged."""
    return gr.Error(reason, print_exception=False)


def sentence(result: dict[str, Any]) -> str:
    """The numbers in words."""
    if result["floor"]:
        return (
            "<b>The worst accuracy cannot be distinguished from 0, so PSS is meaningless.</b> Use an easier benchmark."
        )
    worst, best = escape(result["worst_persona"]), escape(result["best_persona"])
    words = f"<b>PSS {result['pss']:.3f}</b>: worst {worst}, best {best}."
    if "p_value" not in result:
        return words + " Add a column “problem” to estimate the noise."
    if math.isnan(result["p_value"]):
        return words + " The noise cannot be estimated from one problem."
    null, p = result["pss_null"], result["p_value"]
    return words + f" Personas without any effect would give about {null:.3f} (p = {p:.3g})."


def numbers(result: dict[str, Any]) -> pd.DataFrame:
    """The table on the page: name, value, 95 % interval."""
    rows = []
    for key, title in SHOWN.items():
        if key in result:
            ends = [result.get(f"{key}_{end}", math.nan) for end in ("low", "high")]
            value = result[key]
            text = str(value) if isinstance(value, int) else f"{value:.4f}"
            rows.append([title, text, "" if math.isnan(ends[0]) else f"{ends[0]:.4f} to {ends[1]:.4f}"])
    return pd.DataFrame(rows, columns=["number", "value", "95 % interval"])


def people(result: dict[str, Any]) -> pd.DataFrame:
    """Every persona's accuracy, the lowest first, with its 95 % interval if problems are given."""
    table = pd.DataFrame({"persona": result["accuracy"].keys(), "accuracy": result["accuracy"].values()})
    for end in ("low", "high"):
        table[end] = table["persona"].map(result.get(f"accuracy_{end}", {})).astype(float).round(4)
    return table.sort_values("accuracy")


def part(heading: str, language: str) -> str:
    """Return the first block of code in `language` below a heading of the metric card."""
    return README.split(f"## {heading}\n")[1].split(f"```{language}\n")[1].split("\n```")[0]


with gr.Blocks(title="PSS") as demo:
    gr.Markdown(
        "# PSS: the persona stability score\n"
        "How far a model's accuracy depends on the persona in its system prompt: worst / best accuracy over personas. "
        "Give one row per score: columns `persona`, `score` in [0, 1], and optionally `problem` and `run`. "
        "One row per persona with its accuracy is enough, but then the noise is unknown."
    )
    with gr.Row():
        text = gr.Textbox(EXAMPLE, lines=12, max_lines=12, label="CSV", scale=3)
        with gr.Column(scale=1, min_width=280):
            file = gr.File(file_types=[".csv"], type="filepath", label="or a file", height=140)
            seed = gr.Number(0, precision=0, label="seed of resampling")
            button = gr.Button("Compute", variant="primary")
    headline, values, bars, accuracies = measure(EXAMPLE, None, 0)
    words = gr.HTML(headline)
    with gr.Row():
        widths = ["46%", "22%", "32%"]
        table = gr.Dataframe(
            values, label="numbers", interactive=False, wrap=True, column_widths=widths, max_height=800
        )
        with gr.Column():
            plot = gr.BarPlot(
                bars,
                x="persona",
                y="accuracy",
                sort="y",
                y_lim=[0, 1],
                x_label_angle=-30,
                label="accuracy per persona",
            )
            each = gr.Dataframe(accuracies, label="accuracy per persona, with its 95 % interval", interactive=False)
    with gr.Accordion("Load the metric in Python", open=False):
        gr.Code(part("How to use", "python"), language="python", label="evaluate")
    with gr.Accordion("Cite", open=False):
        gr.Code(part("Citation", "bibtex"), language=None, label="BibTeX")
    button.click(measure, [text, file, seed], [words, table, plot, each], api_name="pss")

if __name__ == "__main__":
    demo.launch(theme=THEME, max_file_size="100mb")
