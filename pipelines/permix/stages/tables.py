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
from typing import Any, ClassVar

from permix import files, paper, parquet, stages
from permix.experiment.recipe import Recipe
from permix.paper import variants
from permix.prompting import persona
from permix.results.reporting import table_lines, tabular
from permix.results.reporting.tabular import as_text as as_text
from permix.stage import Facts, Stage, StageConfig, StageContext, own_fields, recipe_field
from permix.stages import cases, personagym, preference, sweep

Row = dict[str, Any]


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
    """Write data, tables, figures and the report."""
    from permix.results.claims import claims, verdicts
    from permix.results.measures import sweeps
    from permix.results.reporting import judged, paper_tables, report

    folders = {f"{name}-seed{seed}": inputs[f"{name}-seed{seed}"] for name, seed in config.runs}
    for benchmark in config.benchmarks:
        sweeps.refuse_unequal(folders, benchmark)
    measured, people = table_lines.read(config.runs, config.benchmarks, folders)
    lines = table_lines.of_variants(measured)
    tables = {b: [line for line in lines if line["benchmark"] == b] for b in config.benchmarks}
    scored = {name: inputs[f"personagym/{name}"] for name in folders} if config.judged else {}
    gym = judged.read(config.runs, scored) if scored else []
    table_lines.add_consistency(lines, judged_lines := judged.of_variants(gym))
    _write_data({"ours": measured, "personas": people, "paper": paper.rows()}, tables, out)
    paired = judged.pairing(scored, sweeps.pairing(folders))
    of = {b: [row for row in measured if row["benchmark"] == b] for b in tables}
    found = [claims.examine(claim, of[b], paired) for b in tables for claim in claims.CLAIMS]
    said = verdicts.table(verdicts.Measured([*measured, *gym], paired, config.toy, config.base_slug))
    tested = _theory(config, folders)
    sheets = [
        paper_tables.variants(lines, config.base_slug),
        *paper_tables.models(people, lines, config.base_slug),
        paper_tables.personagym(judged_lines, config.base_slug),
        paper_tables.preference(judged.summary(inputs["preference"])) if config.preference else None,
        paper_tables.training(config.training),
        paper_tables.theory(tested),
        paper_tables.theory_by_persona(tested),
        paper_tables.statements(said, toy=config.toy),
        paper_tables.pools(*(persona.load(inputs["personas"], split) for split in ("train", "eval"))),
    ]
    for sheet in (filled := [sheet for sheet in sheets if sheet and sheet.rows]):
        paper_tables.write(sheet, out / "tables")
    _figures(config, inputs, lines, people, tested, out / "figures")
    facts = {
        "rows": len(measured),
        "toy": config.toy,
        "tables": tables,
        "notes": _notes(config),
        "claims": [claim for claim in found if claim],
        "statements": said,
        "theory": [{k: v for k, v in line.items() if k != "styles"} for line in tested],  # the figure has them
        "spent": _spent(config, inputs),
        "annotations": _annotations(config, measured, context.sources),
    }
    shown = sweeps.cases(inputs["cases"]) if "cases" in inputs else []
    title = f"{target(config).removeprefix('datasets/')}: {config.base_slug}"
    files.write_bytes(out / "report.html", report.page(title, facts, filled, shown, out / "figures").encode())
    return facts


def _write_data(data: Mapping[str, Sequence[Row]], tables: Mapping[str, Sequence[Row]], out: Path) -> None:
    """The datasets by configuration, and the table of each benchmark in three formats."""
    types = {"floor": "bool"} | dict.fromkeys(("seed", "problems", "runs", "personas"), "int32")
    text = ("variant", "title", "benchmark", "persona", "worst_persona", "best_persona", "table", "row", "measure")
    types |= dict.fromkeys(text, "string")
    for name, of in data.items():
        columns = {column: types.get(column, "double") for column in of[0]}
        parquet.write(of, columns, out / "data" / name / "test-00000-of-00001.parquet")
    for benchmark, lines in tables.items():
        for ending, written in (("md", tabular.as_markdown), ("csv", tabular.as_csv), ("tex", tabular.as_latex)):
            files.write_bytes(out / "tables" / f"{benchmark}.{ending}", written(lines).encode())


def _notes(config: Config) -> list[str]:
    """What these tables cannot say, and what the recipe says of them."""
    found = [f"Note: {config.note}"] if config.note else []
    trained = [name for name in dict(config.runs) if variants.get(name).trainer != "none"]
    if not trained or "base" in dict(config.runs):
        return found
    return [*found, "No sweep of the base: what training changes, recovery by the base and theory are left out."]


def _theory(config: Config, folders: Mapping[str, Path]) -> list[Row]:
    """Proposition 1, at the beta of the training too, on every GRPO variant of the first seed; needs the base."""
    from permix.results.measures import sweeps, theory

    first = {name: folders[f"{name}-seed{seed}"] for name, seed in reversed(config.runs)}
    if "base" not in first:
        return []
    settings = {key: value for table, key, value in config.training if table == "7"}
    beta = float(settings.get("beta", 0)) or None
    names = ("persona", "problem_id", "score", *(["completion"] if config.toy else []))
    found = []
    for benchmark in config.benchmarks:
        base = sweeps.columns(first["base"], benchmark, names)
        for name in (n for n in dict(config.runs) if variants.get(n).trainer == "grpo"):
            tested = theory.examine(base, sweeps.columns(first[name], benchmark, names), beta, toy=config.toy)
            found.append({"variant": name, "title": variants.get(name).title, "benchmark": benchmark, **tested})
    return found


def _figures(
    config: Config,
    inputs: Mapping[str, Path],
    lines: Sequence[Row],
    people: Sequence[Row],
    tested: Sequence[Row],
    folder: Path,
) -> None:
    """The paper's figures, as far as there is something to draw."""
    from permix.results.measures import sweeps
    from permix.results.reporting import dynamics, figures, paper_figures

    figures.summary(lines, people, folder / "summary", toy=config.toy, note=config.note)
    figures.personas(lines, people, folder / "personas", toy=config.toy)
    for name, data in (("summary", lines), ("personas", people)):
        files.write_bytes(folder / f"{name}.csv", tabular.as_csv(data).encode())
    paper_figures.lottery(people, folder / "lottery", toy=config.toy)
    paper_figures.tradeoff(lines, folder / "tradeoff", toy=config.toy)
    benchmark, methods = config.benchmarks[0], {}
    for name, seed in reversed(config.runs):
        methods[name] = sweeps.summary(inputs[f"{name}-seed{seed}"], name, benchmark)["methods"]
    shown = {variants.get(name).title: methods[name] for name in dict(config.runs) if methods[name]}
    if line := next((line for line in tested if line["benchmark"] == benchmark and "styles" in line), None):
        title = f"Eq. 3 at beta {line['styles']['beta']:.3g}"  # made of the base alone, so one for all variants
        shown[title] = {who: row["predicted"] for who, row in line["styles"]["personas"].items()}
    if shown:
        paper_figures.styles(shown, benchmark, folder / "styles")
    if config.toy:
        paper_figures.phase(paper_figures.recorded_phase(), folder / "phase")
    trained = {n.removeprefix("adapter/"): path for n, path in inputs.items() if n.startswith("adapter/")}
    dynamics.draw({name: dynamics.read(path) for name, path in trained.items()}, folder / "dynamics")


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


def _spent(config: Config, inputs: Mapping[str, Path]) -> list[Row]:
    """What training and sweep of every variant and seed cost, as their run records say; times never enter a file."""
    from permix.results.measures import sweeps

    found = []
    for name, seed in config.runs:
        row: Row = {"variant": name, "title": variants.get(name).title, "seed": seed}
        for what, key in (("training", f"adapter/{name}-seed{seed}"), ("sweep", f"{name}-seed{seed}")):
            record = sweeps.record(inputs[key]) if key in inputs else None
            cost = record["cost"] if record else {}
            tokens = [cost[k] for k in ("tokens_trained", "tokens_in", "tokens_out") if cost.get(k)]
            row |= {f"{what}_hours": cost["seconds"] / 3600 if cost else None, f"{what}_tokens": sum(tokens) or None}
        found.append(row)
    return found


def _annotations(config: Config, measured: Sequence[Row], sources: Mapping[str, str]) -> dict[str, Any]:
    """What goes onto each adapter's card: {adapter: {"rows": …, "note": …}} in the shape that cards.render takes."""
    found: dict[str, Any] = {}
    for row in measured:
        if variants.get(row["variant"]).trainer == "none":
            continue
        adapter = _adapter(config, row["variant"], row["seed"])
        source = sources[f"{row['variant']}-seed{row['seed']}"]
        results = found.setdefault(adapter, {"rows": [], "note": config.note})
        results["rows"] += table_lines.annotation(row, source)
    return found


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
