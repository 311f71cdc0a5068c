"""Put the sweeps of all variants side by side: the paper's tables, figures and statements with our numbers in them.

In:  the sweep of every variant and seed, its adapter where it is trained (for the log), personas, cases;
     PersonaGym scores and the preference where the recipe has judges
Out: data/ours/test-00000-of-00001.parquet      one row per variant, seed and benchmark
     data/personas/test-00000-of-00001.parquet  one row per variant, seed, benchmark and persona
     data/paper/test-00000-of-00001.parquet     the paper's printed numbers
     tables/<benchmark>.{md,csv,tex}            one line per variant, over its seeds
     tables/{variants,models-<benchmark>,personagym,preference,training,pools,theory,theory-personas,statements}.*
                                                the paper's tables beside ours, as .md, .csv and .tex
     figures/*.{png,svg,csv}                    pictures, and the numbers in them
     report.html                                all of it on one page that opens offline

Over several seeds a number is their mean, with a 95 % t interval between them, of shares cut at 0 and 1; of a single
seed it has the sweep's own bootstrap interval over problems, and voice Wilson's over them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from permix import files, paper, parquet, stages
from permix.experiment.recipe import Recipe
from permix.paper import variants
from permix.parquet import Row
from permix.results.reporting import table_lines, tabular
from permix.results.reporting.tabular import as_text as as_text
from permix.stage import Facts, Stage, StageConfig, StageContext, own_fields, recipe_field
from permix.stages import cases, personagym, preference, sweep

if TYPE_CHECKING:
    from permix.results.reporting.paper_tables import Sheet
    from permix.stages.shared.comparison import Comparison


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """`runs`: the (variant, seed) of every sweep; `note`: what the recipe says of its numbers.

    `training`: (the paper's table, setting, value) of every trainer; `judged`: there are PersonaGym scores of every
    run; `preference`: the artifact of pairwise judgements, if any.
    """

    TABLE: ClassVar[str] = "tables"

    base_slug: str = recipe_field()
    runs: tuple[tuple[str, int], ...] = recipe_field()
    benchmarks: tuple[str, ...] = recipe_field()
    personas: str = recipe_field()
    toy: bool = recipe_field(False)
    note: str = recipe_field("")
    training: tuple[tuple[str, str, str], ...] = recipe_field(())
    judged: bool = recipe_field(False)
    preference: str = recipe_field("")


def configs(recipe: Recipe) -> list[Config]:
    """One; none where the recipe measures nothing."""
    names = tuple(source.name for source in recipe.benchmarks)
    if not names:
        return []
    shared: dict[str, Any] = {"org": recipe.org, "tag": recipe.tag, "base_slug": recipe.base_slug, "benchmarks": names}
    shared |= {"runs": tuple(recipe.runs()), "personas": recipe.eval_personas_repo, "toy": recipe.base == "toy"}
    shared["note"] = recipe.note
    shared["preference"] = next((preference.target(config) for config in preference.configs(recipe)), "")
    return [Config(**shared, training=_training(recipe), judged="personagym" in recipe.tables)]


def target(config: Config) -> str:
    """`datasets/org/permix-tables`."""
    return f"datasets/{config.name('permix-tables')}"


def inputs(config: Config) -> dict[str, str]:
    """The sweep of every variant and seed, as `<variant>-seed<n>`; `adapter/<variant>-seed<n>`; personas and cases."""
    found = {
        f"{name}-seed{seed}": sweep.repository(config.org, config.tag, config.base_slug, name, seed)
        for name, seed in config.runs
    }
    trained = [(name, seed) for name, seed in config.runs if variants.get(name).trainer != "none"]
    found |= {f"adapter/{name}-seed{seed}": _adapter(config, name, seed) for name, seed in trained}
    if config.judged:
        where = config.org, config.tag, config.base_slug
        found |= {
            f"personagym/{name}-seed{seed}": personagym.repository(*where, name, seed) for name, seed in config.runs
        }
    if config.preference:
        found["preference"] = config.preference
    if len(dict(config.runs)) > 1:
        found["cases"] = cases.repository(config.org, config.tag)
    return found | {"personas": config.personas}


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Read every input once, then write data, tables, figures and the report."""
    from permix.results.reporting import paper_tables, report
    from permix.stages.shared import comparison

    beta = next((float(value) for table, key, value in config.training if (table, key) == ("7", "beta")), None)
    results = comparison.read(config.runs, config.benchmarks, inputs, beta=beta, toy=config.toy)
    facts = _facts(config, results, context.sources)
    sheets = _sheets(config, results, facts["statements"])
    _write_data(results, out)
    for sheet in sheets:
        paper_tables.write(sheet, out / "tables")
    _draw(config, results, out / "figures")
    title = f"{target(config).removeprefix('datasets/')}: {config.base_slug}"
    files.write_bytes(out / "report.html", report.page(title, facts, sheets, results.cases, out / "figures").encode())
    return facts


def _facts(config: Config, results: "Comparison", sources: Mapping[str, str]) -> Facts:
    from permix.results.claims import claims, verdicts

    rows = {b: [row for row in results.sweeps if row["benchmark"] == b] for b in config.benchmarks}
    examined = [claims.examine(claim, rows[b], results.paired) for b in rows for claim in claims.CLAIMS]
    measured = verdicts.Measured([*results.sweeps, *results.judged], results.paired, config.toy, config.base_slug)
    return {
        "rows": len(results.sweeps),
        "toy": config.toy,
        "tables": results.tables,
        "notes": _notes(config),
        "claims": [claim for claim in examined if claim],
        "statements": verdicts.table(measured),
        "theory": [{k: v for k, v in row.items() if k != "styles"} for row in results.theory],  # the figure has them
        "spent": results.costs,
        "annotations": _annotations(config, results.sweeps, sources),
    }


def _notes(config: Config) -> list[str]:
    """Return the recipe's note on its numbers, and a note on tables that need a sweep of the base."""
    notes = [f"Note: {config.note}"] if config.note else []
    trained = [name for name in dict(config.runs) if variants.get(name).trainer != "none"]
    if not trained or "base" in dict(config.runs):
        return notes
    return [*notes, "No sweep of the base: what training changes, recovery by the base and theory are left out."]


def _annotations(config: Config, measured: Sequence[Row], sources: Mapping[str, str]) -> dict[str, Any]:
    """Return the results for each adapter's card: {adapter: {"rows": …, "note": …}}, as cards.render takes them."""
    annotations: dict[str, Any] = {}
    for row in measured:
        if variants.get(row["variant"]).trainer == "none":
            continue
        adapter = _adapter(config, row["variant"], row["seed"])
        results = annotations.setdefault(adapter, {"rows": [], "note": config.note})
        results["rows"] += table_lines.annotation(row, sources[f"{row['variant']}-seed{row['seed']}"])
    return annotations


def _sheets(config: Config, results: "Comparison", statements: Sequence[Row]) -> "list[Sheet]":
    """Return the paper's tables beside ours, those that have rows."""
    from permix.results.reporting import paper_tables

    sheets = [
        paper_tables.variants(results.lines, config.base_slug),
        *paper_tables.models(results.personas, results.lines, config.base_slug),
        paper_tables.personagym(results.judged_lines, config.base_slug),
        paper_tables.preference(results.preference) if results.preference else None,
        paper_tables.training(config.training),
        paper_tables.theory(results.theory),
        paper_tables.theory_by_persona(results.theory),
        paper_tables.statements(statements, toy=config.toy),
        paper_tables.pools(*results.pools),
    ]
    return [sheet for sheet in sheets if sheet and sheet.rows]


def _write_data(results: "Comparison", out: Path) -> None:
    """Write the datasets by configuration, and the table of each benchmark in three formats."""
    types = {"floor": "bool"} | dict.fromkeys(("seed", "problems", "runs", "personas"), "int32")
    text = ("variant", "title", "benchmark", "persona", "worst_persona", "best_persona", "table", "row", "measure")
    types |= dict.fromkeys(text, "string")
    printed = [vars(number) for number in paper.numbers()]
    for name, rows in (("ours", results.sweeps), ("personas", results.personas), ("paper", printed)):
        columns = {column: types.get(column, "double") for column in rows[0]}
        parquet.write(rows, columns, out / "data" / name / "test-00000-of-00001.parquet")
    for benchmark, lines in results.tables.items():
        for ending, render in (("md", tabular.as_markdown), ("csv", tabular.as_csv), ("tex", tabular.as_latex)):
            files.write_bytes(out / "tables" / f"{benchmark}.{ending}", render(lines).encode())


def _draw(config: Config, results: "Comparison", folder: Path) -> None:
    """Draw the paper's figures, those that have something to show."""
    from permix.results.reporting import dynamics, figures, paper_figures

    lines, personas = results.lines, results.personas
    figures.summary(lines, personas, folder / "summary", toy=config.toy, note=config.note)
    figures.personas(lines, personas, folder / "personas", toy=config.toy)
    for name, rows in (("summary", lines), ("personas", personas)):
        files.write_bytes(folder / f"{name}.csv", tabular.as_csv(rows).encode())
    paper_figures.lottery(personas, folder / "lottery", toy=config.toy)
    paper_figures.tradeoff(lines, folder / "tradeoff", toy=config.toy)
    methods, benchmark = dict(results.methods), config.benchmarks[0]
    if row := next((row for row in results.theory if row["benchmark"] == benchmark and "styles" in row), None):
        predicted = {name: shares["predicted"] for name, shares in row["styles"]["personas"].items()}
        methods[f"Eq. 3 at beta {row['styles']['beta']:.3g}"] = predicted  # from the base alone: one for all variants
    if methods:
        paper_figures.styles(methods, benchmark, folder / "styles")
    if config.toy:
        paper_figures.phase(paper_figures.recorded_phase(), folder / "phase")
    dynamics.draw(results.courses, folder / "dynamics")


def _training(recipe: Recipe) -> tuple[tuple[str, str, str], ...]:
    """(table, setting, value) of the paper's Tables 5 (SFT), 6 (SeqKD) and 7 (RLVR), from this recipe's trainers."""
    found: dict[tuple[str, str], str] = {}
    for name in ("sft", "grpo"):
        for config in stages.get(name).configs(recipe):
            row = variants.get(config.variant)
            table = "7" if row.trainer == "grpo" else "6" if row.target == "teacher" else "5"
            counted = [key for key, field in own_fields(type(config)).items() if not field.metadata.get("unhashed")]
            own = {key: getattr(config, key) for key in counted}
            own["batch_size"] = own.pop("per_device_train_batch_size") * own.pop("gradient_accumulation_steps")
            own["dtype"] = "bfloat16" if own.pop("bf16") else "float32"
            found |= {(table, key): _plain(value) for key, value in own.items()}
    return tuple((table, key, value) for (table, key), value in found.items())


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _adapter(config: Config, name: str, seed: int) -> str:
    return StageConfig(org=config.org, tag=config.tag, seed=seed).name(f"{config.base_slug}-{name}")


STAGE = Stage(
    name="tables",
    card="tables",
    version=5,  # intervals: voice's over problems, t of shares cut at 0 and 1; what decided a statement; recipe's note
    config=Config,
    configs=configs,
    target=target,
    inputs=inputs,
    run=run,
)
