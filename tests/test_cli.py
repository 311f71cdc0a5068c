"""The command line: light to start, one command per stage, and every error one sentence with an exit code."""

import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from embedded_hub import launch
from permix import cli, stages
from permix.__main__ import main
from permix.commands import run as runs
from permix.experiment.recipe import Recipe
from permix.pipeline import recipes
from permix.pipeline.plan import RunRequest
from permix.stage import help_texts, own_fields
from tests.support.cases import cases
from tests.support.command_line import environment_of, permix

HEAVY = "torch transformers datasets huggingface_hub numpy pyarrow matplotlib starlette uvicorn dulwich trl peft rich"
COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def test_help_imports_nothing_heavy() -> None:
    code = f"""
import sys
from permix.__main__ import main
try:
    main()
except SystemExit as end:
    assert end.code == 0
print("loaded:", [name for name in {HEAVY.split()!r} if name in sys.modules])
"""
    for arguments in (["--help"], ["run", "--help"], ["grpo", "--help"], ["--version"]):
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.splitlines()[-1] == "loaded: []"


def test_help_names_every_command_under_a_heading_and_in_a_clause() -> None:
    output = CliRunner().invoke(cli.app, ["--help"]).stdout
    for heading in (*cli.COMMANDS, "One stage of the chain, with its missing inputs"):
        assert f"\n{heading}:\n" in output
    for name in COMMANDS:
        assert re.search(rf"\n  {name} +[A-Z][\w-]+ ", output), name
    assert "..." not in output.partition("Build an experiment")[2]


def options(name: str, command: Any) -> Iterator[tuple[str, str | None]]:
    """Every argument and option below a command, with its description."""
    yield from ((f"{name} {parameter.name}", parameter.help) for parameter in command.params)
    for below, inner in getattr(command, "commands", {}).items():
        yield from options(f"{name} {below}", inner)


def test_every_option_says_what_it_is() -> None:
    assert [name for name, help_text in options("permix", typer.main.get_command(cli.app)) if not help_text] == []


EXAMPLES = {name: command.epilog.removeprefix("Example: ") for name, command in COMMANDS.items() if command.epilog}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_a_commands_help_can_be_read(name: str) -> None:
    program, command, *arguments = shlex.split(EXAMPLES[name])
    assert (program, command) == ("permix", name)
    assert COMMANDS[name].make_context(name, arguments).params


@pytest.mark.parametrize("name", stages.NAMES)
def test_every_stage_has_a_command_with_an_option_for_every_field(name: str) -> None:
    output = CliRunner().invoke(cli.app, [name, "--help"], env={"COLUMNS": "200"}).stdout
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    flags = {"--" + field.replace("_", "-") for field in own_fields(stages.get(name).config)}
    assert flags | {"--recipe", "--set", "--benchmark", "--hub", "--workers", "--work"} <= options
    assert all(option in output for option in flags)
    undescribed = set(own_fields(stages.get(name).config)) - set(help_texts(stages.get(name).config))
    assert not undescribed, "each needs a help text at its field"


def recipe_of(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Recipe:
    """The recipe that a stage command would run."""
    parsed: list[Recipe] = []

    def make(request: RunRequest, *_: object) -> None:
        parsed.append(recipes.load(request.name, request.overrides))

    monkeypatch.setattr(runs, "build", make)
    done = CliRunner().invoke(cli.app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return parsed[0]


def test_options_of_every_type_reach_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--max-steps", "7", "--learning-rate", "1e-5", "--bf16", "--optim", "sgd", "--loss-type", "grpo"]
    arguments += ["--lora-target-modules", "q_proj", "--lora-target-modules", "v_proj"]
    recipe = recipe_of(monkeypatch, "grpo", "--recipe", "smoke", "rlvr", "--benchmark", "arithmetic", *arguments)
    settings = recipe.settings("grpo")
    assert recipe.variants == ("rlvr",)
    assert [b.name for b in recipe.benchmarks] == ["arithmetic"]
    assert (settings["max_steps"], settings["learning_rate"]) == (7, 1e-5)
    assert settings["bf16"] is True
    assert (settings["optim"], settings["loss_type"], settings["num_generations"]) == ("sgd", "grpo", 4)
    assert settings["lora_target_modules"] == ("q_proj", "v_proj")


def test_a_list_of_numbers_a_zero_and_a_no_reach_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = [word for share in ("0.4", "0.3", "0.2", "0") for word in ("--plain", share)]
    assert recipe_of(monkeypatch, "base", *plain).settings("base")["plain"] == (0.4, 0.3, 0.2, 0.0)
    recipe = recipe_of(monkeypatch, "grpo", "--no-bf16", "--beta", "0", "--set", "grpo.top_p=0.5")
    assert recipe.settings("grpo")["bf16"] is False
    assert (recipe.settings("grpo")["beta"], recipe.settings("grpo")["top_p"]) == (0.0, 0.5)


def test_an_option_wins_over_set(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(monkeypatch, "sweep", "--set", "sweep.runs=3", "--runs", "4")
    assert recipe.settings("sweep")["runs"] == 4


def ended(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of the command line, run here."""
    monkeypatch.setattr(sys, "argv", ["permix", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "sentence", "most_lines"), cases(__file__)["errors"])
def test_errors_are_short_and_exit_with_2(
    arguments: list[str],
    sentence: str,
    most_lines: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Usage errors show how to call the command; every other error is one sentence."""
    code, err = ended(capsys, monkeypatch, *arguments)
    assert (code, sentence in err) == (2, True), err
    assert len(err.splitlines()) <= most_lines
    assert err.startswith("permix: ") == (most_lines == 1)


@pytest.mark.parametrize("arguments", [("plan",), ("run", "--recipe", "smoke")])
def test_a_home_that_cannot_be_written_is_one_sentence(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = permix(tmp_path, *arguments, check=False, PERMIX_HOME=str(tmp_path / "file" / "home"))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith(f"permix: {tmp_path}/file/home")
    assert "PERMIX_HOME" in done.stderr


def test_a_work_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    work = tmp_path / "file" / "work"
    done = permix(tmp_path / "home", "personas", "--work", str(work), check=False, PERMIX_HUB_LINGER="0.2")
    assert done.returncode == 1
    assert done.stderr.startswith(f"permix: {work}: Not a directory: choose another folder")
    assert len(done.stderr.splitlines()) == 1


def test_a_stage_command_makes_that_stage_and_prints_where_it_is(tmp_path: Path) -> None:
    done = permix(tmp_path, "personas", "--recipe", "smoke", PERMIX_HUB_LINGER="0.2")
    assert done.stdout.startswith("datasets/permix-smoke/permix-personas@")
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr.splitlines()[0] == "making   datasets/permix-smoke/permix-personas"


def test_ctrl_c_stops_with_one_sentence_and_leaves_nothing_running(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "permix", "base", "--recipe", "smoke", "--steps", "100000"]
    environment = environment_of(tmp_path, PERMIX_HUB_LINGER="0.2")
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr.readline() == "making   permix-smoke/permix-toy-base\n"
        time.sleep(0.2)
        run.send_signal(signal.SIGINT)
        assert run.stderr.read() == "permix: stopped; run the same command again to continue.\n"
    # Where Ctrl-C comes within an exec(), as of a dataclass, Python ends itself by the signal; shells call both 130.
    assert run.returncode in (130, -signal.SIGINT)
    assert not launch.held(tmp_path / "work" / "lock")


def test_a_reader_that_has_had_enough_gets_no_traceback(tmp_path: Path) -> None:
    code = f"{sys.executable} -m permix grpo --help | true"
    done = subprocess.run(["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


@pytest.mark.parametrize("package", ["permix", "embedded_hub"])
def test_windows_is_refused_with_a_sentence(package: str) -> None:
    blocked = "import sys; sys.platform = 'win32'; sys.modules['fcntl'] = None; "
    run = f"import runpy; sys.argv = ['x', '--help']; runpy.run_module('{package}', run_name='__main__')"
    ended = subprocess.run([sys.executable, "-c", blocked + run], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "needs Linux or macOS: use the Windows Subsystem for Linux (WSL).\n" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
