"""The command line: dispatches only. Nothing heavy is imported before a command needs it."""

import inspect
import os
import re
import typing
from dataclasses import MISSING, Field
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

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
from permix.stage import described, own_fields

HELP = """Persona-robust post-training as a chain of Hugging Face Hub artifacts.

Start with `permix run --recipe smoke`: in a minute it checks that everything works. Then `permix run` makes the
toy experiment. `permix COMMAND --help` explains a command."""
_SWEEP = "datasets/permix/permix-sweep-permix-toy"


class _Grouped(TyperGroup):
    """Commands under headings, each with the first clause of its docstring."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            found: Any = self.get_command(ctx, name)
            said = " ".join((found.help or "").split("\n\n")[0].split())
            clause = re.split(r"[:;(]|\. ", said)[0].rstrip(" .")
            panels.setdefault(found.rich_help_panel or "Commands", []).append((name, clause))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows, col_max=12)


app = typer.Typer(
    help=HELP,
    cls=_Grouped,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
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
        table = stages.table_of(name)
        fields = [f"{table}.{key}={_toml(value)}" for key, value in given.items() if value not in (None, [])]
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
    default = "" if field.default in (MISSING, "", ()) else f" Default: {_shown(field.default)}."
    text = f"{what[:1].upper()}{what[1:]}.{default}"
    word = field.name.replace("_", "-")
    flag = f"--{word}/--no-{word}" if one is bool else f"--{word}"
    return Annotated[
        kind if is_list else kind | None, typer.Option(flag, help=text, show_default=False)
    ], [] if is_list else None


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _toml(value: Any) -> str:
    return (
        str(value).lower() if isinstance(value, bool) else repr(list(value)) if isinstance(value, list) else str(value)
    )


ELSEWHERE, ONE_STAGE = "Other tools, other machines", "One stage of the chain, after what it needs"
Command = tuple[typing.Callable[..., None], str]
COMMANDS: dict[str, dict[str, Command]] = {
    "Make an experiment": {
        "run": (run.run, "permix run --recipe smoke"),
        "plan": (plan.plan, "permix plan --set grpo.max_steps=20"),
        "doctor": (doctor.doctor, "permix doctor --recipe single-gpu"),
        "calibrate": (calibrate.calibrate, ""),
        "phase": (phase.phase, "permix phase --share 0.1 --share 0.34 --set 'seeds=[0]'"),
    },
    "Ask what was trained": {
        "sample": (
            sample.sample,
            'permix sample "Tom has 3 pens and buys 4. How many?" --persona dumb,none --variant base,rlvr --compare',
        ),
        "chat": (chat.chat, ""),
    },
    "Look at what was made": {
        "show": (show.show, "permix show permix/permix-toy-rlvr"),
        "verify": (verify.verify, f"permix verify {_SWEEP}-rlvr"),
        "compare": (compare.compare, f"permix compare {_SWEEP}-rlvr {_SWEEP}-permix-rlvr"),
        "selectors": (selectors.selectors, f"permix selectors {_SWEEP}-base"),
        "recovery": (recovery.recovery, f"permix recovery {_SWEEP}-rlvr --trained-on {_SWEEP}-base"),
        "theory": (theory.theory, f"permix theory {_SWEEP}-base --trained {_SWEEP}-permix-rlvr"),
        "claims": (claims.claims, "permix claims datasets/permix/permix-tables"),
        "overlap": (
            overlap.overlap,
            "permix overlap datasets/permix/permix-mixture-arithmetic-rlvr --benchmark arithmetic",
        ),
        "power": (power.power, "permix power --problems 100 --runs 3"),
    },
    ELSEWHERE: {
        "export": (export.export, "permix export permix/permix-toy-permix-rlvr --merge"),
        "import": (import_logs.import_logs, "permix import lm-eval --persona poet=LOGS/poet --persona cook=LOGS/cook"),
        "watch": (watch.watch, "permix watch my-org/my-adapter --benchmark gsm8k --max-cost 5"),
        "sandbox": (sandbox.sandbox, ""),
    },
}
"""Every command that is no stage, under the heading of `permix --help`: what it calls, and an example."""
EXAMPLES = {
    "rewrites": "permix rewrites --recipe toy-full --model my-writer --preview",
    "grpo": "permix grpo rlvr --max-steps 20 --set tag=short",
    "sweep": "permix sweep base rlvr --limit 20 --set tag=quick",
}
"""Of commands of stages."""


def _epilog(example: str) -> str | None:
    return f"Example: {example}" if example else None


for _panel, _commands in COMMANDS.items():
    for _name, (_call, _example) in _commands.items():
        app.command(_name, rich_help_panel=_panel, epilog=_epilog(_example))(_call)
for _name, _group in {"hub": hub.app, "jobs": jobs.app, "ci": ci.app}.items():
    app.add_typer(_group, name=_name, cls=_Grouped, rich_help_panel=ELSEWHERE)
for _name in stages.NAMES:
    _stage = _stage_command(_name, stages.get(_name))
    app.command(_name, rich_help_panel=ONE_STAGE, epilog=_epilog(EXAMPLES.get(_name, "")))(_stage)
