"""Every command of the README runs, on the smoke recipe; so do the commands that a run prints."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from embedded_hub import launch
from permix.pipeline import plan, recipes
from tests.support.command_line import permix
from tests.support.models import make_tiny_model

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
ELSEWHERE = {
    "make demo": "it is `permix run` in an environment of its own",
    "make test": "it runs this test",
    "pip install .": "tests/test_packaging.py builds and unpacks the wheel",
    "pip install '.[train]'": "the same wheel with dependencies that are installed here",
    "permix import lm-eval --persona poet=LOGS/poet --persona cook=LOGS/cook --publish my-org/my-sweep": (
        "tests/commands/test_import_logs.py has logs"
    ),
    "permix sweep --endpoint http://127.0.0.1:8000/v1 --model my-model --key MY_API_KEY --benchmark gsm8k --limit 5": (
        "tests/commands/test_sweep.py has a server"
    ),
    "permix hub serve --port 7870": "it does not end by itself: test_hub_serve_runs_in_the_foreground",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    lines = "".join(blocks("bash")).splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip()]


def shell(command: str, home: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as if `permix` and `python` were installed, with the smoke recipe as the default."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "PERMIX_"))}
    prelude = f'permix() {{ "{sys.executable}" -m permix "$@"; }}\n'
    return subprocess.run(
        ["bash", "-c", prelude + re.sub(r"(?<![\w/])python -c", f"{sys.executable} -c", command)],
        env=kept | {"PERMIX_HOME": str(home), "PERMIX_RECIPE": "smoke"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


def gsm8k_folder(folder: Path) -> Path:
    """A folder as `openai/gsm8k` is laid out, with problems of our own."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    rows = [{"question": f"What is {n} plus {n}?", "answer": f"{n} + {n} = {2 * n}\n#### {2 * n}"} for n in range(60)]
    for split in ("train", "test"):
        (folder / "main").mkdir(parents=True, exist_ok=True)
        parquet.write_table(arrow.Table.from_pylist(rows), folder / "main" / f"{split}-00000-of-00001.parquet")
    splits = "\n".join(f"  - split: {s}\n    path: main/{s}-*" for s in ("train", "test"))
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: main\n  data_files:\n{splits}\n---\n")
    return folder


def table_folder(folder: Path, split: str, rows: Sequence[dict[str, str]]) -> Path:
    folder.mkdir()
    (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def model_folder(folder: Path) -> Path:
    make_tiny_model(folder)
    return folder


PROBLEMS = [{"question": f"Ann has {n} pens and buys 3. How many?", "answer": str(n + 3)} for n in range(16)]
QUIZ = [{"question": f"Which is {n}?\nA. {n}\nB. {n + 1}", "answer": "A"} for n in range(8)]
FOLDERS: dict[str, Callable[[Path], Path]] = {
    "FOLDER": gsm8k_folder,
    "MODEL": model_folder,
    "PROBLEMS": lambda folder: table_folder(folder, "train", PROBLEMS),
    "QUIZ": lambda folder: table_folder(folder, "test", QUIZ),
}
"""What stands for a folder of the reader's own."""


@pytest.fixture(scope="module")
def home(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the smoke run for these commands to change; its Hub is another server."""
    copy = tmp_path_factory.mktemp("readme") / "home"
    shutil.copytree(smoke, copy, symlinks=True, ignore=shutil.ignore_patterns("server.json", "*.lock", "leases"))
    return copy


@pytest.mark.parametrize("command", [c for c in commands() if c not in ELSEWHERE])
def test_command(command: str, home: Path, tmp_path: Path) -> None:
    ours = command.replace("permix/p", "permix-smoke/p")
    for word, make in FOLDERS.items():
        if f" {word} " in ours:
            ours = ours.replace(f" {word} ", f" {make(tmp_path / word.lower())} ")
    if own := blocks("json"):
        (tmp_path / "people.json").write_text(own[0])
    done = shell(ours, home, tmp_path)
    assert done.returncode == 0, f"{ours}\n{done.stdout}\n{done.stderr}"
    assert done.stdout.strip()


def test_the_commands_that_run_elsewhere_are_in_the_readme() -> None:
    assert set(ELSEWHERE) <= set(commands())


def test_the_python_example_prints_five_numbers(smoke: Path, tmp_path: Path) -> None:
    (code,) = blocks("python")
    done = permix(smoke, "hub", "exec", "--", sys.executable, "-c", code.replace("permix/pss", "permix-smoke/pss"))
    assert len(done.stdout.split()) == 5


@pytest.mark.parametrize("text", blocks("toml"))
def test_a_recipe_example_parses(text: str) -> None:
    whole = {"variants": ["base", "permix-sft-styled"], "benchmarks": ["arithmetic"]} | tomllib.loads(text)
    assert plan.build(recipes.parse({"name": "mine", **whole}, "mine.toml"))


def test_the_commands_that_a_run_prints_work_when_pasted(smoke: Path, tmp_path: Path) -> None:
    printed = permix(smoke, "run", "--recipe", "smoke").stdout.split("Load what was published:\n")[1]
    *lines, collection = printed.strip().splitlines()
    assert len(lines) == 3 and collection.startswith("Collection: http://127.0.0.1:")
    for line in lines:
        done = shell(line, smoke, tmp_path)
        assert done.returncode == 0 and done.stdout.strip(), f"{line}\n{done.stderr}"


def test_hub_serve_runs_in_the_foreground_until_interrupted(tmp_path: Path) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "PERMIX_"))}
    command = [sys.executable, "-m", "permix", "hub", "serve", "--root", str(tmp_path / "hub"), "--port", "0"]
    server = subprocess.Popen(
        command, env=kept | {"PERMIX_HOME": str(tmp_path)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        state = tmp_path / "hub" / "server.json"
        deadline = time.monotonic() + 20
        while not state.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert json.loads(state.read_text())["pid"] == server.pid
        assert launch.attach(tmp_path / "hub").url.startswith("http://127.0.0.1:")
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=20) in (0, 130, -signal.SIGINT)


def test_pictures_and_linked_files_are_there() -> None:
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (root / target).is_file(), target
