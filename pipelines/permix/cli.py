"""The command line: a table of commands. Each command imports heavy packages only when it runs."""

import importlib
import os
import re
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from permix import __version__, stages
from permix.commands import ci, hub, jobs, stage_commands

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
COMMANDS: dict[str, dict[str, str]] = {
    "Build an experiment": {
        "run": "permix run --recipe smoke",
        "plan": "permix plan --set grpo.max_steps=20",
        "doctor": "permix doctor --recipe single-gpu",
        "calibrate": "",
        "phase": "permix phase --share 0.1 --share 0.34 --set 'seeds=[0]'",
    },
    "Talk to trained models": {
        "sample": f"permix sample {_QUESTION} --persona dumb,none --variant base,rlvr --compare",
        "chat": "",
    },
    "Examine results": {
        "show": "permix show permix/permix-toy-rlvr",
        "verify": f"permix verify {_SWEEP}-rlvr",
        "compare": f"permix compare {_SWEEP}-rlvr {_SWEEP}-permix-rlvr",
        "selectors": f"permix selectors {_SWEEP}-base",
        "recovery": f"permix recovery {_SWEEP}-rlvr --trained-on {_SWEEP}-base",
        "theory": f"permix theory {_SWEEP}-base --trained {_SWEEP}-permix-rlvr",
        "claims": "permix claims datasets/permix/permix-tables",
        "overlap": f"permix overlap {_MIXTURE} --benchmark arithmetic",
        "power": "permix power --problems 100 --runs 3",
    },
    OTHER: {
        "export": "permix export permix/permix-toy-permix-rlvr --merge",
        "import": "permix import lm-eval --persona poet=LOGS/poet --persona cook=LOGS/cook",
        "watch": "permix watch my-org/my-adapter --benchmark gsm8k --max-cost 5",
        "sandbox": "",
    },
}
"""{heading of `permix --help`: {command, a function of its module: example}}, without stages and groups."""
EXAMPLES = {
    "rewrites": "permix rewrites --recipe toy-full --model my-writer --preview",
    "grpo": "permix grpo rlvr --max-steps 20 --set tag=short",
    "sweep": "permix sweep base rlvr --limit 20 --set tag=quick",
}
"""The examples of stage commands."""


def _epilog(example: str) -> str | None:
    return f"Example: {example}" if example else None


for _heading, _commands in COMMANDS.items():
    for _name, _example in _commands.items():
        _function = _name.replace("import", "import_logs")  # a keyword
        _module = importlib.import_module(f"permix.commands.{_function}")
        app.command(_name, rich_help_panel=_heading, epilog=_epilog(_example))(getattr(_module, _function))
for _name, _group in {"hub": hub.app, "jobs": jobs.app, "ci": ci.app}.items():
    app.add_typer(_group, name=_name, cls=_Grouped, rich_help_panel=OTHER)
for _name in stages.NAMES:
    _command = stage_commands.command(stages.get(_name))
    app.command(_name, rich_help_panel=ONE_STAGE, epilog=_epilog(EXAMPLES.get(_name, "")))(_command)
