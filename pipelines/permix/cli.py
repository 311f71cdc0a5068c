"""The command line: dispatches only. Nothing heavy is imported before a command needs it."""

import inspect
import os
import typing
from dataclasses import MISSING, Field
from types import ModuleType
from typing import Annotated, Any

import typer

from permix import __version__, stages
from permix.commands import (
    calibrate,
    chat,
    ci,
    claims,
    compare,
    doctor,
    export,
    hub,
    import_logs,
    jobs,
    options,
    overlap,
    phase,
    plan,
    power,
    recovery,
    run,
    sample,
    sandbox,
    selectors,
    show,
    sweep,
    theory,
    verify,
    watch,
)
from permix.commands import preview as previews
from permix.recipe import table_of
from permix.stage import described, own_fields

app = typer.Typer(
    help="Persona-robust post-training as a chain of Hugging Face Hub artifacts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"permix {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    i_accept_unsafe: Annotated[
        bool, typer.Option("--i-accept-unsafe", help="Run what models wrote even where no sandbox works.")
    ] = False,
) -> None:
    if i_accept_unsafe:
        from permix.sandbox.proof import ACCEPT_UNSAFE

        os.environ[ACCEPT_UNSAFE] = "1"


def _stage_command(name: str, stage: ModuleType) -> typing.Callable[..., None]:
    """A command that makes one stage's artifacts and what they need, with an option for every field of its Config."""
    more = {"sweep": sweep}.get(name)

    def command(
        recipe: str,
        variant: list[str] | None,
        set: list[str],
        benchmark: list[str],
        hub: str | None,
        workers: int,
        work: Any,
        processes: int,
        preview: bool = False,
        fan_out: str = "none",
        **given: Any,
    ) -> None:
        terms = run.terms_of(**{key: given.pop(key) for key, *_ in options.JOBS}, fan_out=fan_out)
        named = [f"{key}={list(names)!r}" for key, names in (("variants", variant), ("benchmarks", benchmark)) if names]
        if more:
            asked = {key: given.pop(key) for key, *_ in more.OPTIONS}
            recipe, named = more.recipe(recipe, **asked), named + more.changes(variant or [], **asked)
        fields = [f"{table_of(name)}.{key}={_toml(value)}" for key, value in given.items() if value not in (None, [])]
        changes = [*set, *named, *fields]
        if preview:
            previews.preview(recipe, changes, name, hub, work)
        else:
            place: dict[str, Any] = {"hub": hub, "workers": workers, "work": work, "processes": processes}
            run.make(recipe, changes, until=name, **place, terms=terms)

    command.__signature__ = inspect.Signature(_parameters(name, stage, more))  # type: ignore[attr-defined]
    command.__doc__ = (stage.__doc__ or "").strip().splitlines()[0]
    return command


def _parameters(name: str, stage: ModuleType, more: ModuleType | None) -> list[inspect.Parameter]:
    """What a stage's command takes: the options of all stages, those of `more`, and one for every field of its own."""
    of_these = Annotated[list[str] | None, typer.Argument(metavar="VARIANT", help="Only these variants.")]
    instead = Annotated[list[str], typer.Option("--benchmark", help="These benchmarks instead of the recipe's.")]
    found: list[tuple[str, Any, Any]] = [
        ("variant", of_these, None),
        ("recipe", options.Recipe, "" if more else "toy"),
    ]
    found += [*(more.OPTIONS if more else []), ("set", options.Set, []), ("benchmark", instead, [])]
    found += [("hub", options.Hub, None), ("workers", options.Workers, 0), ("work", options.Work, None)]
    found += [("processes", run.Processes, 1), *options.JOBS]
    found += [("fan_out", options.FanOut, "none")] if name == "sweep" else []
    if hasattr(stage, "preview"):
        text = "Show a few rows and what all would cost; publish only what they are made of, where it is missing."
        found.append(("preview", Annotated[bool, typer.Option("--preview", help=text)], False))
    hints, what = typing.get_type_hints(stage.Config), described(stage.Config)
    found += [(key, *_option(field, hints[key], what.get(key, ""))) for key, field in own_fields(stage.Config).items()]
    return [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=hint, default=default)
        for key, hint, default in found
    ]


def _option(field: Field[Any], hint: Any, what: str) -> tuple[Any, Any]:
    """The option of one Config field: its own type, a list for a tuple, the recipe's value when it is not given.

    `what` says what it is.
    """
    is_list = typing.get_origin(hint) is tuple
    one = typing.get_args(hint)[0] if is_list else hint
    one = one if one in (int, float, bool) else str
    kind: Any = list[one] if is_list else one  # type: ignore[valid-type]
    default = "" if field.default in (MISSING, "", ()) else f" Default: {field.default}."
    text = f"{what[:1].upper()}{what[1:]}.{default}"
    word = field.name.replace("_", "-")
    flag = f"--{word}/--no-{word}" if one is bool else f"--{word}"
    return Annotated[
        kind if is_list else kind | None, typer.Option(flag, help=text, show_default=False)
    ], [] if is_list else None


def _toml(value: Any) -> str:
    return (
        str(value).lower() if isinstance(value, bool) else repr(list(value)) if isinstance(value, list) else str(value)
    )


app.command()(run.run)
app.command()(plan.plan)
app.command()(show.show)
app.command()(verify.verify)
app.command()(sandbox.sandbox)
app.command()(sample.sample)
app.command()(chat.chat)
app.command()(theory.theory)
app.command()(claims.claims)
app.command()(phase.phase)
app.command()(calibrate.calibrate)
app.command()(export.export)
app.command()(doctor.doctor)
app.command()(compare.compare)
app.command()(selectors.selectors)
app.command()(overlap.overlap)
app.command()(power.power)
app.command()(recovery.recovery)
app.command()(watch.watch)
app.command("import")(import_logs.import_logs)
app.add_typer(hub.app, name="hub")
app.add_typer(jobs.app, name="jobs")
app.add_typer(ci.app, name="ci")
for _name in stages.NAMES:
    app.command(_name, rich_help_panel="Stages")(_stage_command(_name, stages.get(_name)))
