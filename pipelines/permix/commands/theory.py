"""permix theory: what Proposition 1 says of a sweep of the base, and how far a trained sweep follows it."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from permix.commands import options
from permix.errors import BadInput
from permix.pipeline import published

if TYPE_CHECKING:
    from permix.publishing.hub import Hub

Trained = Annotated[str | None, typer.Option("--trained", metavar="ARTIFACT", help="The sweep of a trained variant.")]
Beta = Annotated[
    float | None, typer.Option("--beta", help="The KL coefficient; without it, the one that fits the trained sweep.")
]


def theory(
    artifact: options.Artifact,
    beta: Beta = None,
    trained: Trained = None,
    hub_url: options.HubUrl = None,
    as_json: options.Json = False,
) -> None:
    """Predict accuracy and PSS at a beta from a base's sweep (Proposition 1), and fit beta to a trained one."""
    from permix.publishing import hub as hubs
    from permix.results.measures import sweeps
    from permix.results.measures import theory as model

    if beta is None and trained is None:
        raise BadInput("Give --beta, to predict, or --trained, to fit it (or both).")
    place = hubs.connect(hub_url)
    base, record = _sweep(artifact, place)
    if record["config"]["variant"] != "base":
        raise BadInput(f"{artifact} is a sweep of {record['config']['variant']}: theory starts from the base's.")
    folders = {"base": base}
    if trained is not None:
        folders[trained], other = _sweep(trained, place)
        if other["config"]["variant"] == "base":
            raise BadInput(f"{trained} is a sweep of a base too: --trained takes that of a trained variant.")
    found, toy = {}, record["config"]["toy"]
    names = ("persona", "problem_id", "score", *(["completion"] if toy else []))
    for benchmark in [source["name"] for source in record["config"]["benchmarks"]]:
        sweeps.refuse_unequal(folders, benchmark)
        before, *after = (sweeps.columns(folder, benchmark, names) for folder in folders.values())
        found[benchmark] = model.examine(before, after[0] if after else None, beta, toy=toy)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    blocks = ["\n".join(_text(benchmark, parts)) for benchmark, parts in found.items()]
    print("\n\n".join([*blocks, _legend(next(iter(found.values())))]))


LEGEND = {
    "": "Proposition 1 (the paper's section 3.3 and Appendix A): RLVR that reaches its optimum adds one number, 1/beta,"
    " to the logit of every accuracy, where beta is the weight of the KL term. The smaller beta, the nearer PSS comes "
    "to 1.",
    "prediction": "at beta: what that makes of the base's accuracy on each problem, then the mean over problems; from "
    "the personas' means: the same formula on each persona's mean, as if the benchmark were one problem.",
    "fit": "1/beta: the shift that the trained sweep shows, in brackets its 95 % interval, problems as strata; for all "
    "personas, and for each. p: chance of shifts as unequal as these if all were one. hard and easy problems: the base "
    "solves them without a persona in less than half of the runs, or more. predicted: the base's accuracies after that "
    "shift; measured: those of the trained sweep; misfit: how far the two lie apart.",
    "styles": "share of methods: Eq. 3, where the toy world lets methods be read off the answers.",
}
"""What the numbers are and how to read them, by the part that they belong to."""


def _legend(found: Mapping[str, Any]) -> str:
    return "\n".join(textwrap.fill(text, 120) for part, text in LEGEND.items() if not part or found.get(part))


def _sweep(artifact: str, place: "Hub") -> tuple[Path, Mapping[str, Any]]:
    head = published.sweep(artifact, place)
    if head.record["stage"] != "sweep":
        raise BadInput(f"{head.repo} was imported from another tool's logs: theory needs a sweep that permix made.")
    return place.fetch(head), head.record


def _text(benchmark: str, found: Mapping[str, Any]) -> Iterator[str]:
    yield benchmark
    if prediction := found.get("prediction"):
        worst, best = (end(prediction["accuracy"].values()) for end in (min, max))
        yield (
            f"  at beta {prediction['beta']:g}: worst {worst:.3f}, best {best:.3f}, PSS {_number(prediction['pss'])} "
            f"(from the personas' means: {_number(prediction['from_means'])})"
        )
        if "fit" not in found:
            yield from (f"    {who:26} {value:.3f}" for who, value in prediction["accuracy"].items())
    if fit := found.get("fit"):
        yield from _fit(fit)
    if styles := found.get("styles"):
        yield f"  share of methods, base -> predicted at beta {styles['beta']:.3g} / measured (Eq. 3)"
        for who, row in styles["personas"].items():
            shown = (
                f"{m} {row['base'][m]:.2f} -> {row['predicted'][m]:.2f} / {row['measured'][m]:.2f}" for m in row["base"]
            )
            yield f"    {who:26} {', '.join(shown)}; off by {row['distance']:.2f} of {row['moved']:.2f} moved"


def _fit(fit: Mapping[str, Any]) -> Iterator[str]:
    beta = "no beta above 0 fits" if fit["beta"] is None else f"so beta = {fit['beta']:.3g}"
    yield f"  1/beta = {fit['shift']:.2f} [{fit['low']:.2f}, {fit['high']:.2f}], {beta}"
    said = "no sign that it differs" if fit["p_value"] > 0.05 else "it differs, against the proposition"
    yield f"  one shift for all personas: p = {fit['p_value']:.3f}, {said}"
    for name, part in fit["by_difficulty"].items():
        yield f"  {name} problems ({part['problems']}): {part['shift']:.2f} [{part['low']:.2f}, {part['high']:.2f}]"
    pss = (f"{_number(fit[f'pss_{what}'])} {what}" for what in ("base", "predicted", "measured"))
    yield f"  PSS: {', '.join(pss)}; largest misfit of a persona {fit['misfit']:.3f}"
    yield f"    {'persona':26} {'1/beta':>6}  {'95 %':14} {'base':>5} {'predicted':>9} {'measured':>8}"
    for row in fit["personas"]:
        ends = f"[{row['low']:.2f}, {row['high']:.2f}]"
        yield (
            f"    {row['persona']:26} {row['shift']:6.2f}  {ends:14} {row['base']:5.3f} {row['predicted']:9.3f} "
            f"{row['measured']:8.3f}"
        )


def _number(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)
