"""Compare the sweeps of all variants: the paper's tables, figures and statements with our numbers.

In:  the sweep of every variant and seed, the adapter of a trained one (for its log), personas, cases;
     PersonaGym scores and the preference, if the recipe has judges
Out: data/ours/test-00000-of-00001.parquet      one row per variant, seed and benchmark
     data/personas/test-00000-of-00001.parquet  one row per variant, seed, benchmark and persona
     data/paper/test-00000-of-00001.parquet     the paper's printed numbers
     tables/<benchmark>.{md,csv,tex}            one line per variant, over its seeds
     tables/{variants,models-<benchmark>,personagym,preference,training,pools,theory,theory-personas,statements}.*
                                                the paper's tables beside ours, as .md, .csv and .tex
     figures/*.{png,svg,csv}                    figures, and the numbers in them
     report.html                                everything on one page that opens offline

A number over several seeds is their mean with a 95 % t interval between them, cut at 0 and 1 for a share. A number of
one seed has the sweep's own bootstrap interval over problems; voice has Wilson's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from permix import files, paper, parquet, stages
from permix.experiment.recipe import Recipe
from permix.paper import variants
from permix.parquet import Row
from permix.results.formatting import as_csv
from permix.results.reporting import table_lines, tabular
from permix.results.reporting.tabular import as_text as as_text
from permix.stage import Facts, Stage, StageConfig, StageContext, own_fields, recipe_field
from permix.stages import cases, personagym, preference, sweep

if TYPE_CHECKING:
    from permix.results.reporting.paper_tables import Sheet
    from permix.stages.shared.comparison import Comparison


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """`runs` are (variant, seed) of every sweep; `note` is the recipe's note on its numbers.

    `training` has (the paper's table, setting, value) of every trainer. `judged` means that every run has PersonaGym
    scores. `preference` is the artifact of pairwise judgements, "" for none.
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
    """Return one Config; none for a recipe without benchmarks."""
    names = tuple(source.name for source in recipe.benchmarks)
    if not names:
        return []
    shared: dict[str, Any] = {"org": recipe.org, "tag": recipe.tag, "base_slug": recipe.base_slug, "benchmarks": names}
    shared |= {"runs": tuple(recipe.runs()), "personas": recipe.eval_personas_repo, "toy": recipe.base == "toy"}
    shared["note"] = recipe.note
    shared["preference"] = next((preference.target(config) for config in preference.configs(recipe)), "")
    return [Config(**shared, training=_training(recipe), judged="personagym" in recipe.tables)]


def target(config: Config) -> str:
    """Return `datasets/org/permix-tables`."""
    return f"datasets/{config.name('permix-tables')}"


def inputs(config: Config) -> dict[str, str]:
    """Return every run's sweep as `<variant>-seed<n>`, its adapter as `adapter/<variant>-seed<n>`, and the rest."""
    repositories = {
        f"{name}-seed{seed}": sweep.repository(config.org, config.tag, config.base_slug, name, seed)
        for name, seed in config.runs
    }
    trained = [(name, seed) for name, seed in config.runs if variants.get(name).trainer != "none"]
    repositories |= {f"adapter/{name}-seed{seed}": _adapter(config, name, seed) for name, seed in trained}
    if config.judged:
        names = config.org, config.tag, config.base_slug
        repositories |= {
            f"personagym/{name}-seed{seed}": personagym.repository(*names, name, seed) for name, seed in config.runs
        }
    if config.preference:
        repositories["preference"] = config.preference
    if len(dict(config.runs)) > 1:
        repositories["cases"] = cases.repository(config.org, config.tag)
    return repositories | {"personas": config.personas}


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
    types = {"floor": "bool"} | dict.fromkeys(("seed", "problems", "runs", "personas"), "int32")
    text = ("variant", "title", "benchmark", "persona", "worst_persona", "best_persona", "table", "row", "measure")
    types |= dict.fromkeys(text, "string")
    printed = [vars(number) for number in paper.numbers()]
    for name, rows in (("ours", results.sweeps), ("personas", results.personas), ("paper", printed)):
        columns = {column: types.get(column, "double") for column in rows[0]}
        parquet.write(rows, columns, parquet.data_file(out, name))
    for benchmark, lines in results.tables.items():
        for ending, render in (("md", tabular.as_markdown), ("csv", as_csv), ("tex", tabular.as_latex)):
            files.write_bytes(out / "tables" / f"{benchmark}.{ending}", render(lines).encode())


def _draw(config: Config, results: "Comparison", folder: Path) -> None:
    from permix.results.reporting import dynamics, figures, paper_figures

    lines, personas = results.lines, results.personas
    figures.summary(lines, personas, folder / "summary", toy=config.toy, note=config.note)
    figures.personas(lines, personas, folder / "personas", toy=config.toy)
    for name, rows in (("summary", lines), ("personas", personas)):
        files.write_bytes(folder / f"{name}.csv", as_csv(rows).encode())
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
    """Return (table, setting, value) for the paper's Tables 5 (SFT), 6 (SeqKD) and 7 (RLVR), from the trainers."""
    settings: dict[tuple[str, str], str] = {}
    for name in ("sft", "grpo"):
        for config in stages.get(name).configs(recipe):
            variant = variants.get(config.variant)
            table = "7" if variant.trainer == "grpo" else "6" if variant.target == "teacher" else "5"
            keys = [key for key, field in own_fields(type(config)).items() if not field.metadata.get("unhashed")]
            values = {key: getattr(config, key) for key in keys}
            values["batch_size"] = values.pop("per_device_train_batch_size") * values.pop("gradient_accumulation_steps")
            values["dtype"] = "bfloat16" if values.pop("bf16") else "float32"
            settings |= {(table, key): _plain(value) for key, value in values.items()}
    return tuple((table, key, value) for (table, key), value in settings.items())


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
