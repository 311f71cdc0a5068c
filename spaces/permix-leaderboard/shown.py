"""The tables and HTML of the page. Every text from the Hub is escaped here, and nowhere else."""

import base64
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

import pandas as pd
from artifacts import CONTROLS, FIDELITY, SWEEP, Artifact, Board, options

Row = dict[str, Any]
LONGEST = 20_000  # characters of one completion on the page
COLUMNS = {
    "label": "variant",
    "size": "n",
    "worst": "worst",
    "best": "best",
    "mean": "mean",
    "pss": "PSS",
    "interval": "PSS, 95 %",
    "pss_null": "no effect",
    "p_value": "p",
    "pss_corrected": "corrected",
    "floor": "floor",
    "none": "none",
    "helpful": "helpful",
    "voice": "voice",
    "recovery": "recovery",
    "personagym": "PersonaGym",
    "link": "artifact",
}
LEGEND = """
The ⋮ in a column's head sorts and filters. **n** is problems x runs x personas. Problems x runs is the number of
answers behind each persona's accuracy, which is known to about .2 for 20 x 1 and to about .03 for 1319 x 5. So compare
rows with their intervals, and only rows with the same personas: the worst of 16 personas is lower than the worst of 2.
PSS is worst / best accuracy over the personas. **no effect** is the PSS that sampling noise alone gives: compare PSS
with it, not with 1. **p** is the probability of a PSS as low as this one by noise alone. **corrected** is PSS without
that noise. **floor**: the worst accuracy cannot be distinguished from 0, and PSS is meaningless. **none** and
**helpful** are the accuracies without a persona. A model that is equally bad under every persona has PSS 1: read worst
and mean first. Sweeps with a **voice** come from permix's toy world. They demonstrate the method and do not reproduce
the paper's numbers.
"""
NOISE = (
    "In brackets: the difference that decides, with its 95 % interval. Inside the noise: the interval reaches 0 or is "
    "unknown, or p is above .05. The paper prints no intervals; those of its numbers are rough estimates."
)
TOY = " In the toy world arithmetic stands for GSM8K, arithmetic-long for MATH500, voice for PersonaGym."
CSS = """
@media (hover: none) { #sweeps .cell-menu-button { display: flex; } }
.wide { overflow-x: auto; }
.wide table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
.wide th, .wide td { padding: .3rem .55rem; text-align: left; vertical-align: top; }
.wide thead th { vertical-align: bottom; max-width: 9rem; }
.heat small { display: block; font-weight: normal; white-space: nowrap; }
.heat td { text-align: center; min-width: 3.6rem; }
.heat tbody th { position: sticky; left: 0; background: var(--body-background-fill); white-space: nowrap; }
.heat .control { border-top: 2px solid currentColor; }
.sides { display: flex; flex-wrap: wrap; gap: 1rem; }
.sides > section { flex: 1 1 18rem; min-width: 0; }
.sides pre, .question { white-space: pre-wrap; overflow-wrap: anywhere; padding: .6rem .8rem; margin: .3rem 0 1rem;
  background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary); border-radius: 6px; }
.sides h2, .sides h3 { margin: .4rem 0 .2rem; overflow-wrap: anywhere; }
.sides h2 { font-size: 1.1rem; }
button.selected[role="tab"] { color: var(--body-text-color); }
.notes { margin: .4rem 0 0; padding-left: 1.2rem; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; }
.figures figure { flex: 1 1 24rem; margin: 0; min-width: 0; }
.figures img { max-width: 100%; height: auto; background: #fff; }
iframe.report { width: 100%; height: 80vh; border: 1px solid var(--border-color-primary); background: #fff; }
"""


def chosen(board: Board, benchmark: str, base: str, seed: str) -> list[Row]:
    """Return the sweeps' rows that pass the filters ("" passes all), each with its size and a unique label."""
    filters = {"benchmark": benchmark, "base": base, "seed": seed}
    rows = [dict(r) for r in board.sweeps if all(not value or str(r[key]) == value for key, value in filters.items())]
    several = [key for key in ("benchmark", "base", "seed") if len(options(rows, key)) > 1]
    for row in rows:
        extra = [f"seed {row[key]}" if key == "seed" else row[key].rpartition("/")[2] for key in several]
        row["label"] = " · ".join([row["title"], *extra])
        size = [row[name] for name in ("problems", "runs", "personas")]
        row["size"] = "" if None in size else " x ".join(f"{count:.0f}" for count in size)
    names = [row["label"] for row in rows]
    for row in rows:
        if names.count(row["label"]) > 1:
            row["label"] += f" · {row['name'].removeprefix(SWEEP)}"
    return rows


def table(rows: Sequence[Row], board: Board) -> pd.DataFrame:
    """The leaderboard, highest worst accuracy first, without the measures of fidelity that no row has."""
    columns = {key: title for key, title in COLUMNS.items() if key not in FIDELITY or key in measured(rows)}
    lines = []
    for row in sorted(rows, key=lambda r: -(r["worst"] or 0)):
        artifact = board.artifacts[row["repo"]]
        cells = {
            "interval": _interval(row),
            "floor": "yes" if row["floor"] else "",
            "link": f"[{artifact.sha[:7]}]({artifact.url})",
        }
        lines.append([_rounded((row | cells)[key]) for key in columns])
    return pd.DataFrame(lines, columns=list(columns.values()))


def measured(rows: Sequence[Row]) -> list[str]:
    """Return the measures of fidelity that any row has."""
    return [name for name in FIDELITY if any(row[name] is not None for row in rows)]


def heat(rows: Sequence[Row], measure: str) -> str:
    """Accuracy (or voice) of every variant under every persona as a coloured table, the controls last."""
    cells = {row["label"]: row["accuracy" if measure == "accuracy" else "voices"] for row in rows}
    known = [value for column in cells.values() for value in column.values() if value is not None]
    if not known:
        return sentence(f"The filters pass no sweep with {measure} by persona.")
    low, high = min(known), max(known)
    names = dict.fromkeys(persona for column in cells.values() for persona in column)
    controls = [name for name in CONTROLS if name in names]
    personas = sorted(names.keys() - set(controls), key=lambda persona: (_average(cells.values(), persona), persona))
    body = ""
    for persona in [*personas, *controls]:
        kind = ' class="control"' if persona in controls[:1] else ""
        values = "".join(_cell(column.get(persona), low, high) for column in cells.values())
        body += f'<tr{kind}><th scope="row">{escape(persona)}</th>{values}</tr>'
    sizes = {row["label"]: row["size"] for row in rows}
    head = "".join(f'<th scope="col">{escape(label)}<small>{size}</small></th>' for label, size in sizes.items())
    return (
        f'<div class="wide heat" tabindex="0" role="region" aria-label="{measure} by persona and variant"><table>'
        f"<caption>{measure}, from {low:.2f} (light) to {high:.2f} (dark), and problems x runs x personas</caption>"
        f'<thead><tr><th scope="col">persona</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def points(rows: Sequence[Row], robustness: str, fidelity: str) -> pd.DataFrame:
    """The points of the scatter, for the rows with both numbers."""
    plotted = [
        [row["label"], row["size"], row[fidelity], row[robustness], _interval(row)]
        for row in rows
        if row[fidelity] is not None and row[robustness] is not None
    ]
    return pd.DataFrame(plotted, columns=["variant", "n", "fidelity", "robustness", "PSS, 95 %"])


def limits(values: Iterable[float]) -> list[float | None]:
    """The ends of an axis, with room around its points."""
    known = list(values) or [0.0, 1.0]
    room = 0.1 * (max(known) - min(known)) or 0.1
    return [min(known) - room, max(known) + room]


def preferences(board: Board) -> pd.DataFrame:
    """The pairwise judgements. A model wins a pair if both orders prefer it."""
    rows = [{key: value for key, value in row.items() if key != "repo"} for row in board.preferences]
    names = ["first", "second", "judge", "first_wins", "second_wins", "ties", "flips", "p_value"]
    return pd.DataFrame([[_rounded(row[name]) for name in names] for row in rows], columns=names)


def status(board: Board, org: str) -> str:
    """The age of the data, and the notes on its problems."""
    if board.looked is None:
        text = f"The artifacts of {escape(org)} have not been read yet."
    elif not board.sweeps:
        text = f"{escape(org)} has not published a sweep yet: run permix run."
    else:
        newest = max(artifact.published for artifact in board.artifacts.values())
        sweeps = len({row["repo"] for row in board.sweeps})
        text = (
            f"{sweeps} sweep{'s' if sweeps > 1 else ''} of {escape(org)}. Newest artifact: {newest:%Y-%m-%d %H:%M} UTC "
            f"({_ago(newest)} old). Last read of the Hub: {board.looked:%H:%M:%S} UTC."
        )
    notes = "".join(f"<li>{escape(note)}</li>" for note in board.notes)
    return f'<div role="status">{text}{f"<ul class=notes>{notes}</ul>" if notes else ""}</div>'


def side_by_side(sides: Iterable[tuple[str, Sequence[Row]]]) -> str:
    """The completions of several variants to one problem, a column each."""
    columns = ""
    for label, rows in sides:
        texts = "".join(f"<h3>{_verdict(row)}</h3><pre>{_cut(row['completion'])}</pre>" for row in rows)
        texts = texts or sentence("This sweep does not contain the problem.")
        columns += f"<section><h2>{escape(label)}</h2>{texts}</section>"
    return f'<div class="sides">{columns}</div>'


def problem(question: str, gold: str, system_prompt: str = "") -> str:
    """The persona's text, the question and the reference answer, without those that are empty."""
    lines = {"Persona: ": system_prompt, "": question, "Reference answer: ": gold}
    text = "\n".join(f"{head}{_cut(line)}" for head, line in lines.items() if line)
    return f'<div class="question">{text}</div>' if text else ""


def case(rows: Sequence[Row]) -> str:
    """One case: the problem, then the answer of every variant."""
    first = rows[0]
    top = (
        f"<p>{escape(str(first['benchmark']))}, {escape(str(first['problem_id']))}, persona "
        f"<b>{escape(str(first['persona']))}</b>, chosen by the rule <i>{escape(str(first['rule']))}</i></p>"
        f"{problem(first['question'], first['gold'])}"
    )
    return top + side_by_side((str(row["title"]), [row]) for row in rows)


def statements(record: Mapping[str, Any]) -> str:
    """The paper's statements with the verdicts on its own numbers and on ours, from a tables artifact's run.json."""
    body = ""
    for row in record["facts"]["statements"]:
        verdicts = "".join(f"<td>{escape(_verdict_on(row[source]))}</td>" for source in ("paper", "ours"))
        body += f"<tr><td>“{escape(str(row['quote']))}”</td><td>{escape(str(row['section']))}</td>{verdicts}</tr>"
    note = NOISE + (TOY if record["config"]["toy"] else "")
    head = "".join(f'<th scope="col">{name}</th>' for name in ("statement", "section", "paper's numbers", "ours"))
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="statements of the paper"><table>'
        f"<caption>{note}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def figures(pictures: Mapping[str, bytes]) -> str:
    """PNG pictures, inline."""
    images = "".join(
        f'<figure><img alt="{escape(name)}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'
        f"<figcaption>{escape(name)}</figcaption></figure>"
        for name, data in pictures.items()
    )
    return f'<div class="figures">{images}</div>'


def report(page: str) -> str:
    """A published page in a frame that can neither run scripts nor reach this page."""
    return f'<iframe class="report" sandbox="" title="Report" srcdoc="{escape(page)}"></iframe>'


def link(artifact: Artifact) -> str:
    """The artifact at its commit."""
    name = f"{artifact.name}@{artifact.sha[:7]}"
    return f'<a href="{escape(artifact.url)}" target="_blank" rel="noopener">{escape(name)}</a>'


def download(rows: Sequence[Row], board: Board, org: str) -> str:
    """A link to the filtered rows as CSV with all digits; `revision` is the artifact's commit."""
    flat = []
    for row in rows:
        line = {key: value for key, value in row.items() if key not in ("accuracy", "voices", "label", "size")}
        line |= {"revision": board.artifacts[row["repo"]].sha}
        flat.append(line | {f"accuracy/{persona}": value for persona, value in row["accuracy"].items()})
    names = list(dict.fromkeys(key for line in flat for key in line))
    out = io.StringIO()
    writer = csv.DictWriter(out, names)
    writer.writeheader()
    writer.writerows(flat)
    data = base64.b64encode(out.getvalue().encode()).decode()
    name = escape(f"{org}-leaderboard.csv")
    return f'<a download="{name}" href="data:text/csv;base64,{data}">Download these {len(flat)} rows (CSV)</a>'


def blind(persona: str, question: str, left: str, right: str) -> str:
    """Two answers to one problem under one persona, without their models."""
    sides = "".join(
        f"<section><h2>{name}</h2><pre>{_cut(text)}</pre></section>"
        for name, text in (("Left", left), ("Right", right))
    )
    top = f'<p>Persona: <b>{escape(persona)}</b></p><div class="question">{_cut(question)}</div>'
    return f'{top}<div class="sides">{sides}</div>'


def sentence(text: str) -> str:
    """A sentence as a paragraph."""
    return f"<p>{escape(text)}</p>"


def announced(text: str, url: str = "") -> str:
    """A sentence that screen readers announce when it changes, with a link."""
    address = f' <a href="{escape(url)}" target="_blank" rel="noopener">{escape(url)}</a>' if url else ""
    return f'<p role="status">{escape(text)}{address}</p>'


def _cell(value: float | None, low: float, high: float) -> str:
    if value is None:
        return "<td>–</td>"
    share = (value - low) / (high - low) if high > low else 0.5
    lightness = 94 - 62 * share
    ink = "#000" if lightness > 50 else "#fff"  # a contrast above 4.5 in both cases
    return f'<td style="background:hsl(215 60% {lightness:.0f}%);color:{ink}">{value:.2f}</td>'


def _average(cells: Iterable[Mapping[str, float | None]], persona: str) -> float:
    values = [value for column in cells if (value := column.get(persona)) is not None]
    return sum(values) / max(len(values), 1)


def _verdict(row: Row) -> str:
    run = f"run {row['run'] + 1}: " if "run" in row else ""
    read = f", read as {row['extracted']}" if row.get("extracted") else ""
    cut = ", cut at the token limit" if row.get("finish") == "length" else ""
    return escape(f"{run}{row['status']}{read}{cut}"[:300])


def _cut(text: object) -> str:
    whole = "" if text is None else str(text)
    more = f"\n… {len(whole) - LONGEST:,} more characters" if len(whole) > LONGEST else ""
    return escape(whole[:LONGEST] + more)


def _verdict_on(verdict: Mapping[str, Any]) -> str:
    """A verdict, with the difference that decided it if the tables name one."""
    text = f"{verdict['verdict']}{', inside the noise' if verdict.get('inside_noise') else ''}"
    if not (decided := verdict.get("decided")):
        return text
    ends = "no interval" if decided["low"] is None else f"{decided['low']:+.3f} to {decided['high']:+.3f}"
    p_value = "" if decided["p_value"] is None else f", p {decided['p_value']:.3f}"
    return f"{text} [{decided['what']}: {decided['difference']:+.3f}, {ends}{p_value}]"


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


def _interval(row: Row) -> str:
    ends = row["pss_low"], row["pss_high"]  # if every score is 0, only one end is defined
    return "" if None in ends else "{:.3f} to {:.3f}".format(*ends)


def _ago(moment: datetime) -> str:
    minutes = int((datetime.now(UTC) - moment).total_seconds() // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"
