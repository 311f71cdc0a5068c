"""The command line: a table of commands. Each command imports heavy packages only when it runs."""

import os
import re
import typing
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
    stage_commands,
    theory,
    verify,
    watch,
)  # fmt: skip

HELP = """Persona-robust post-training as a chain of Hugging Face Hub artifacts.

Start with `permix run --recipe smoke`, which checks the installation in a minute. Then `permix run` builds the toy
experiment. `permix COMMAND --help` explains a command."""
_QUESTION = '"Tom has 3 pens and buys 4. How many?"'
_SWEEP = "datasets/permix/permix-sweep-permix-toy"
_MIXTURE = "datasets/permix/permix-mixture-arithmetic-rlvr"


class _Grouped(TyperGroup):
    """Commands under headings, each with the first clause of its docstring."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            sentence = " ".join((command.help or "").split("\n\n")[0].split())
            clause = re.split(r"[:;(]|\. ", sentence)[0].rstrip(" .")
            panels.setdefault(command.rich_help_panel or "Commands", []).append((name, clause))
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


def _version(requested: bool) -> None:
    if requested:
        print(f"permix {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    i_accept_unsafe: Annotated[
        bool, typer.Option("--i-accept-unsafe", help="Run programs of models even without a sandbox.")
    ] = False,
) -> None:
    if i_accept_unsafe:
        from permix.sandbox.proof import ACCEPT_UNSAFE

        os.environ[ACCEPT_UNSAFE] = "1"


OTHER, ONE_STAGE = "Other tools and machines", "One stage of the chain, with its missing inputs"
Command = tuple[typing.Callable[..., None], str]
COMMANDS: dict[str, dict[str, Command]] = {
    "Build an experiment": {
        "run": (run.run, "permix run --recipe smoke"),
        "plan": (plan.plan, "permix plan --set grpo.max_steps=20"),
        "doctor": (doctor.doctor, "permix doctor --recipe single-gpu"),
        "calibrate": (calibrate.calibrate, ""),
        "phase": (phase.phase, "permix phase --share 0.1 --share 0.34 --set 'seeds=[0]'"),
    },
    "Talk to trained models": {
        "sample": (sample.sample, f"permix sample {_QUESTION} --persona dumb,none --variant base,rlvr --compare"),
        "chat": (chat.chat, ""),
    },
    "Examine results": {
        "show": (show.show, "permix show permix/permix-toy-rlvr"),
        "verify": (verify.verify, f"permix verify {_SWEEP}-rlvr"),
        "compare": (compare.compare, f"permix compare {_SWEEP}-rlvr {_SWEEP}-permix-rlvr"),
        "selectors": (selectors.selectors, f"permix selectors {_SWEEP}-base"),
        "recovery": (recovery.recovery, f"permix recovery {_SWEEP}-rlvr --trained-on {_SWEEP}-base"),
        "theory": (theory.theory, f"permix theory {_SWEEP}-base --trained {_SWEEP}-permix-rlvr"),
        "claims": (claims.claims, "permix claims datasets/permix/permix-tables"),
        "overlap": (overlap.overlap, f"permix overlap {_MIXTURE} --benchmark arithmetic"),
        "power": (power.power, "permix power --problems 100 --runs 3"),
    },
    OTHER: {
        "export": (export.export, "permix export permix/permix-toy-permix-rlvr --merge"),
        "import": (import_logs.import_logs, "permix import lm-eval --persona poet=LOGS/poet --persona cook=LOGS/cook"),
        "watch": (watch.watch, "permix watch my-org/my-adapter --benchmark gsm8k --max-cost 5"),
        "sandbox": (sandbox.sandbox, ""),
    },
}
"""{heading of `permix --help`: {command: (function, example)}}, without stages and groups."""
EXAMPLES = {
    "rewrites": "permix rewrites --recipe toy-full --model my-writer --preview",
    "grpo": "permix grpo rlvr --max-steps 20 --set tag=short",
    "sweep": "permix sweep base rlvr --limit 20 --set tag=quick",
}
"""The examples of stage commands."""


def _epilog(example: str) -> str | None:
    return f"Example: {example}" if example else None


for _heading, _commands in COMMANDS.items():
    for _name, (_function, _example) in _commands.items():
        app.command(_name, rich_help_panel=_heading, epilog=_epilog(_example))(_function)
for _name, _group in {"hub": hub.app, "jobs": jobs.app, "ci": ci.app}.items():
    app.add_typer(_group, name=_name, cls=_Grouped, rich_help_panel=OTHER)
for _name in stages.NAMES:
    _command = stage_commands.command(stages.get(_name))
    app.command(_name, rich_help_panel=ONE_STAGE, epilog=_epilog(EXAMPLES.get(_name, "")))(_command)
