"""The metric's page: a table of scores in, PSS and its companions out."""

import io
import math
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd
from pss_core import compute

LEVELS = {"math expert": 7, "grandma": 6, "kindergarten": 4, "pirate": 6}  # made up: of 10 problems, how many are easy
EXAMPLE = "persona,problem,run,score\n" + "".join(
    f"{persona},{problem},{run},{int((problem * 7 + run) % 10 < level)}\n"
    for persona, level in LEVELS.items()
    for problem in range(40)
    for run in range(2)
)
ROWS = 1_000_000
SHOWN = {
    "pss": "PSS = worst / best",
    "pss_corrected": "PSS, noise-corrected",
    "worst": "worst accuracy",
    "best": "best accuracy",
    "mean": "mean accuracy",
    "pss_null": "PSS expected without a persona effect",
    "p_value": "p-value: as low a PSS without a persona effect",
    "gap": "best - worst",
    "worst_quarter": "mean of the worst quarter of personas",
    "std_personas": "standard deviation over personas",
    "mean_of_run_pss": "mean of the per-run PSS",
    "std_runs": "standard deviation over runs",
}


def measure(text: str, file: str | None, seed: float) -> tuple[str, pd.DataFrame, pd.DataFrame]:
    """One sentence, the table of numbers and the accuracy per persona, from CSV text or an uploaded file."""
    try:
        table = pd.read_csv(Path(file) if file else io.StringIO(text), nrows=ROWS + 1)
    except (ValueError, OSError) as error:
        raise gr.Error(f"This is not a CSV table ({error}): give a header and one row per score.") from None
    table.columns = [str(name).strip().lower().removesuffix("s") for name in table.columns]
    if not {"score", "persona"} <= set(table.columns):
        found = ", ".join(table.columns)
        raise gr.Error(f"The columns are {found}: score and persona are needed, problem and run optional.")
    if len(table) > ROWS:
        raise gr.Error(f"The table has more than {ROWS:,} rows: use the metric from Python for so many.")
    labels = {name: table[name].tolist() for name in ("persona", "problem", "run") if name in table.columns}
    try:
        result = compute(table["score"].tolist(), *(labels.get(k) for k in ("persona", "problem", "run")), int(seed))
    except ValueError as error:
        raise gr.Error(str(error)) from None
    accuracy = pd.DataFrame({"persona": result["accuracy"].keys(), "accuracy": result["accuracy"].values()})
    return sentence(result), numbers(result), accuracy.sort_values("accuracy")


def sentence(result: dict[str, Any]) -> str:
    """What the numbers say, in words."""
    if result["floor"]:
        return "**The worst accuracy cannot be told from 0, so PSS means nothing here.** Take an easier benchmark."
    words = f"**PSS {result['pss']:.3f}**: worst {result['worst_persona']}, best {result['best_persona']}."
    if "p_value" not in result:
        return words + " Add a column `problem` to see how much of it is noise."
    if math.isnan(result["p_value"]):
        return words + " One problem says nothing about noise."
    null, p = result["pss_null"], result["p_value"]
    return words + f" Personas without any effect would give about {null:.3f} (p = {p:.3g})."


def numbers(result: dict[str, Any]) -> pd.DataFrame:
    """The table on the page: name, value, 95 % interval."""
    rows = []
    for key, title in SHOWN.items():
        if key in result:
            ends = [result.get(f"{key}_{end}", math.nan) for end in ("low", "high")]
            rows.append([title, f"{result[key]:.4f}", "" if math.isnan(ends[0]) else f"{ends[0]:.4f} to {ends[1]:.4f}"])
    return pd.DataFrame(rows, columns=["number", "value", "95 % interval"])


with gr.Blocks(title="PSS") as demo:
    gr.Markdown("# PSS: the persona stability score\nOne row per score: columns `persona`, `score` in [0, 1], and,")
    gr.Markdown("where you have them, `problem` and `run`. One row per persona with its accuracy is enough.")
    with gr.Row():
        text = gr.Textbox(EXAMPLE, lines=14, max_lines=14, label="CSV")
        file = gr.File(file_types=[".csv"], type="filepath", label="or a file")
    seed = gr.Number(0, precision=0, label="seed")
    button = gr.Button("Compute", variant="primary")
    words = gr.Markdown()
    with gr.Row():
        table = gr.Dataframe(label="numbers", interactive=False)
        plot = gr.BarPlot(x="persona", y="accuracy", sort=None, y_lim=[0, 1], label="accuracy per persona")
    button.click(measure, [text, file, seed], [words, table, plot], api_name="pss")

if __name__ == "__main__":
    demo.launch()
