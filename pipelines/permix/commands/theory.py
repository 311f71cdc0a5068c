"""permix theory: the prediction of Proposition 1 from a sweep of the base, and its fit to a trained sweep."""

import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from permix.commands import options
from permix.errors import BadInput
from permix.pipeline import published
from permix.publishing import hub as hubs
from permix.results.formatting import aligned, decimal

Trained = Annotated[str | None, typer.Option("--trained", metavar="ARTIFACT", help="Sweep of a trained variant.")]
Beta = Annotated[float | None, typer.Option("--beta", help="KL coefficient; by default the trained sweep's fit.")]


def theory(
    artifact: options.Artifact,
    beta: Beta = None,
    trained: Trained = None,
    hub_url: options.HubUrl = None,
    as_json: options.Json = False,
) -> None:
    """Test Proposition 1 on sweeps: predict accuracy and PSS from the base's, or fit beta to a trained one."""
    from permix.results.measures import sweeps
    from permix.results.measures import theory as measure

    if beta is None and trained is None:
        raise BadInput("Give --beta, to predict, or --trained, to fit it (or both).")
    hub = hubs.connect(hub_url)
    base, record = _sweep(artifact, hub)
    if record["config"]["variant"] != "base":
        raise BadInput(f"{artifact} is a sweep of {record['config']['variant']}: theory starts from the base's.")
    folders = {"base": base}
    if trained is not None:
        folders[trained], other = _sweep(trained, hub)
        if other["config"]["variant"] == "base":
            raise BadInput(f"{trained} is a sweep of a base too: --trained takes that of a trained variant.")
    results, toy = {}, record["config"]["toy"]
    names = ("persona", "problem_id", "score", *(["completion"] if toy else []))
    for benchmark in [source["name"] for source in record["config"]["benchmarks"]]:
        sweeps.refuse_unequal(folders, benchmark)
        before, *after = (sweeps.columns(folder, benchmark, names) for folder in folders.values())
        results[benchmark] = measure.examine(before, after[0] if after else None, beta, toy=toy)
    if as_json:
        options.print_json(results)
        return
    blocks = ["\n".join(_text(benchmark, parts)) for benchmark, parts in results.items()]
    print("\n\n".join([*blocks, _legend(next(iter(results.values())))]))


def _legend(parts: Mapping[str, Any]) -> str:
    texts = tomllib.loads(options.text("theory.toml"))
    return "\n".join(textwrap.fill(text, 120) for part, text in texts.items() if part == "all" or parts.get(part))


def _sweep(artifact: str, hub: hubs.Hub) -> tuple[Path, Mapping[str, Any]]:
    sweep = published.sweep(artifact, hub)
    if sweep.record["stage"] != "sweep":
        raise BadInput(f"{sweep.repo} was imported from another tool's logs: theory needs a sweep that permix made.")
    return hub.fetch(sweep), sweep.record


def _text(benchmark: str, parts: Mapping[str, Any]) -> Iterator[str]:
    yield benchmark
    if prediction := parts.get("prediction"):
        worst, best = (end(prediction["accuracy"].values()) for end in (min, max))
        yield (
            f"  at beta {prediction['beta']:g}: worst {worst:.3f}, best {best:.3f}, PSS {decimal(prediction['pss'])} "
            f"(from the personas' means: {decimal(prediction['from_means'])})"
        )
        if "fit" not in parts:
            yield from (f"    {persona:26} {value:.3f}" for persona, value in prediction["accuracy"].items())
    if fit := parts.get("fit"):
        yield from _fit(fit)
    if styles := parts.get("styles"):
        yield f"  share of methods, base -> predicted at beta {styles['beta']:.3g} / measured (Eq. 3)"
        for persona, row in styles["personas"].items():
            shares = (
                f"{m} {row['base'][m]:.2f} -> {row['predicted'][m]:.2f} / {row['measured'][m]:.2f}" for m in row["base"]
            )
            yield f"    {persona:26} {', '.join(shares)}; off by {row['distance']:.2f} of {row['moved']:.2f} moved"


def _fit(fit: Mapping[str, Any]) -> Iterator[str]:
    beta = "no beta above 0 fits" if fit["beta"] is None else f"so beta = {fit['beta']:.3g}"
    yield f"  1/beta = {fit['shift']:.2f} [{fit['low']:.2f}, {fit['high']:.2f}], {beta}"
    verdict = "no sign of a difference" if fit["p_value"] > 0.05 else "they differ, against the proposition"
    yield f"  one shift for all personas: p = {fit['p_value']:.3f}, {verdict}"
    for name, part in fit["by_difficulty"].items():
        yield f"  {name} problems ({part['problems']}): {part['shift']:.2f} [{part['low']:.2f}, {part['high']:.2f}]"
    pss = (f"{decimal(fit[f'pss_{kind}'])} {kind}" for kind in ("base", "predicted", "measured"))
    yield f"  PSS: {', '.join(pss)}; largest misfit of a persona {fit['misfit']:.3f}"
    table: list[tuple[str, ...]] = [("    persona", "1/beta", "95 %", "base", "predicted", "measured")]
    for row in fit["personas"]:
        accuracies = [f"{row[kind]:.3f}" for kind in ("base", "predicted", "measured")]
        ends = f"[{row['low']:.2f}, {row['high']:.2f}]"
        table.append((f"    {row['persona']}", f"{row['shift']:.2f}", ends, *accuracies))
    yield aligned(table, left=(0, 2))
