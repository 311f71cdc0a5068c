"""One command per stage, with an option for every field of its Config; it builds its artifacts and their inputs."""

import inspect
import typing
from collections.abc import Callable
from dataclasses import MISSING, Field
from typing import Annotated, Any

import typer

from permix.commands import options, run
from permix.pipeline import preview
from permix.pipeline.ad_hoc import Target
from permix.pipeline.plan import Plan, RunRequest
from permix.publishing import hub as hubs
from permix.stage import Stage, help_texts, own_fields

Parameter = tuple[str, Any, Any]
"""The name, the type with its option, and the default of a command's parameter."""
SWEEP: list[Parameter] = [
    ("base", Annotated[str, typer.Option(metavar="ORG/MODEL", help="Base model on the Hub.")], ""),
    ("adapter", Annotated[str, typer.Option(metavar="ORG/NAME", help="Adapter of --base.")], ""),
    ("endpoint", Annotated[str, typer.Option(metavar="URL", help="OpenAI-compatible server, instead of a base.")], ""),
    ("model", Annotated[str, typer.Option(metavar="NAME", help="Model name at the server.")], ""),
    ("key", Annotated[str, typer.Option(metavar="ENV", help="Environment variable with the server's key.")], ""),
    ("personas", Annotated[str, typer.Option(metavar="FILE", help="Your own personas (.json or .toml).")], ""),
]
"""The options of `permix sweep` that measure any model, or personas of a file."""
PREVIEW = "Print a few rows and the cost of all rows; publish only missing inputs."


def command(stage: Stage[Any]) -> Callable[..., None]:
    """Return the command of a stage."""
    is_sweep = stage.name == "sweep"

    def run_stage(
        recipe: str,
        variant: list[str] | None,
        overrides: list[str],
        benchmark: list[str],
        hub_url: str | None,
        workers: int,
        work: Any,
        processes: int,
        preview_only: bool = False,
        fan_out: str = "none",
        **values: Any,
    ) -> None:
        terms = run.job_terms(**{name: values.pop(name) for name, *_ in options.JOBS}, fan_out=fan_out)
        lists = {"variants": variant, "benchmarks": benchmark}
        changes = [f"{key}={list(names)!r}" for key, names in lists.items() if names]
        if is_sweep:
            target = Target(**{name: values.pop(name) for name, *_ in SWEEP})
            recipe = target.recipe(recipe)
            changes += target.overrides(variant or [])
        settings = [f"{stage.table}.{key}={_toml(value)}" for key, value in values.items() if value not in (None, [])]
        changes = [*overrides, *changes, *settings]
        request = RunRequest(recipe, tuple(changes), stage.name, workers=workers, processes=processes)
        if preview_only:
            _show(preview.preview(Plan.of(request), hubs.connect(hub_url), work))
        else:
            run.build(request, hub_url, work, terms)

    run_stage.__signature__ = inspect.Signature(_parameters(stage, is_sweep))  # type: ignore[attr-defined]
    run_stage.__doc__ = (inspect.getmodule(stage.run).__doc__ or "").strip().splitlines()[0]
    return run_stage


def _parameters(stage: Stage[Any], is_sweep: bool) -> list[inspect.Parameter]:
    """Return the options of all stages, those of `permix sweep`, and one for every field of the stage's Config."""
    variant = Annotated[list[str] | None, typer.Argument(metavar="VARIANT", help="Only these variants of the recipe.")]
    benchmark = Annotated[list[str], typer.Option("--benchmark", help="Benchmark instead of the recipe's; repeatable.")]
    parameters: list[Parameter] = [("variant", variant, None), ("recipe", options.Recipe, "" if is_sweep else "toy")]
    parameters += [*(SWEEP if is_sweep else []), ("overrides", options.Set, []), ("benchmark", benchmark, [])]
    parameters += [("hub_url", options.HubUrl, None), ("workers", options.Workers, 0), ("work", options.Work, None)]
    parameters += [("processes", options.Processes, 1), *options.JOBS]
    parameters += [("fan_out", options.FanOut, "none")] if is_sweep else []
    if stage.preview:
        parameters.append(("preview_only", Annotated[bool, typer.Option("--preview", help=PREVIEW)], False))
    hints, texts = typing.get_type_hints(stage.config), help_texts(stage.config)
    settings = own_fields(stage.config).items()
    parameters += [(key, *_option(field, hints[key], texts.get(key, ""))) for key, field in settings]
    return [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=hint, default=default)
        for key, hint, default in parameters
    ]


def _show(previewed: preview.Preview) -> None:
    for row in previewed.rows:
        print(f"--- {row['problem_id']}, {row['persona'] or 'no persona'}: {row['status']}, gold {row['gold']}")
        print(f"{row['question']}\n\n{row['completion']}\n")
    print(previewed.cost)


def _option(field: Field[Any], hint: Any, text: str) -> tuple[Any, Any]:
    """Return type and default of a Config field's option; without the option, the recipe's value is used."""
    is_list = typing.get_origin(hint) is tuple
    element = typing.get_args(hint)[0] if is_list else hint
    element = element if element in (int, float, bool) else str
    kind: Any = list[element] if is_list else element  # type: ignore[valid-type]
    default = "" if field.default in (MISSING, "", ()) else f" Default: {_text(field.default)}."
    name = field.name.replace("_", "-")
    flag = f"--{name}/--no-{name}" if element is bool else f"--{name}"
    option = typer.Option(flag, help=f"{text[:1].upper()}{text[1:]}.{default}", show_default=False)
    return Annotated[kind if is_list else kind | None, option], [] if is_list else None


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _toml(value: Any) -> str:
    return repr(list(value)) if isinstance(value, list) else _text(value)
