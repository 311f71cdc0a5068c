"""Every command and example of the README, the guides and the pages for contributors runs, on the smoke recipe."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
import typer

from embedded_hub import launch
from permix import cli, stages
from permix.pipeline import plan, recipes
from tests.support import foreign_logs
from tests.support.cases import cases
from tests.support.command_line import environment_of, permix, permix_here
from tests.support.models import make_tiny_model
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[1]
PATHS = (
    "README.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "pipelines" / "guides").glob("*.md")),
    *("pipelines/README.md", "pipelines/decisions.md", ".github/CONTRIBUTING.md", "CHANGELOG.md"),
)
PAGES = {path: (ROOT / path).read_text(encoding="utf-8") for path in PATHS}
CLI = typer.main.get_command(cli.app)
ELSEWHERE = dict(cases(__file__)["elsewhere"])
"""How commands begin that do not run here, and the reason."""


def blocks(language: str) -> list[str]:
    """Return the text of every code block in that language, page after page."""
    return [block for page in PAGES.values() for block in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)]


def commands() -> list[str]:
    """Return each distinct command, in the order of the pages."""
    lines = "".join(blocks("bash")).splitlines()
    return list(dict.fromkeys(line.split("  #")[0].strip() for line in lines if line.strip()))


def shell(command: str, home: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as if `permix` and `python` were installed, with the smoke recipe as the default."""
    prelude = f'permix() {{ "{sys.executable}" -m permix "$@"; }}\n'
    script = prelude + re.sub(r"(?<![\w/])python -c", f"{sys.executable} -c", command)
    settings: dict[str, Any] = {"cwd": folder, "capture_output": True, "text": True, "timeout": 300}
    return subprocess.run(["bash", "-c", script], env=environment_of(home, PERMIX_RECIPE="smoke"), **settings)


def gsm8k_folder(folder: Path) -> Path:
    """A folder as `openai/gsm8k` is laid out, with problems of our own."""
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


def log_folders(folder: Path) -> Path:
    for persona, scores in {"poet": (1.0, 0.0, 1.0), "cook": (1.0, 1.0, 1.0)}.items():
        foreign_logs.lm_eval(folder / persona, f"You are a {persona}.", scores)
    return folder


PROBLEMS = [{"question": f"Ann has {n} pens and buys 3. How many?", "answer": str(n + 3)} for n in range(16)]
QUIZ = [{"question": f"Which is {n}?\nA. {n}\nB. {n + 1}", "answer": "A"} for n in range(8)]
FOLDERS: dict[str, Callable[[Path], Path]] = {
    "FOLDER": gsm8k_folder, "MODEL": model_folder, "PROBLEMS": lambda folder: table_folder(folder, "train", PROBLEMS),
    "QUIZ": lambda folder: table_folder(folder, "test", QUIZ), "LOGS": log_folders, "DIR": lambda folder: folder,
}  # fmt: skip
"""By the word on a page, what makes the reader's own folder."""


@pytest.fixture(scope="module")
def home(smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the smoke run for these commands to change; its Hub is another server."""
    copy = tmp_path_factory.mktemp("readme") / "home"
    shutil.copytree(smoke, copy, symlinks=True, ignore=shutil.ignore_patterns("server.json", "*.lock", "leases"))
    return copy


@pytest.mark.parametrize(
    "command", [command for command in commands() if not command.startswith(tuple(ELSEWHERE))], ids=str
)
def test_command(command: str, home: Path, tmp_path: Path) -> None:
    ours = command.replace("permix/p", "permix-smoke/p")
    for word, make in FOLDERS.items():
        if re.search(rf"\b{word}\b", ours):
            ours = re.sub(rf"\b{word}\b", str(make(tmp_path / word.lower())), ours)
    (people,) = blocks("json")
    (tmp_path / "people.json").write_text(people)
    if ours.startswith("permix ") and not ours.startswith("permix hub "):
        done = permix_here(home, *shlex.split(ours)[1:], folder=tmp_path, check=False, PERMIX_RECIPE="smoke")
    else:
        done = shell(ours, home, tmp_path)
    assert done.returncode == 0, f"{ours}\n{done.stdout}\n{done.stderr}"
    assert done.stdout.strip()


STOCK = """
import evaluate, sys, torch
from datasets import load_dataset
from peft import AutoPeftModelForCausalLM
org = "permix-smoke"
pools = load_dataset(f"{org}/permix-personas")
assert {k: len(v) for k, v in pools.items()} == {"train": 25, "eval": 16}, pools
rows = load_dataset(f"{org}/permix-sweep-permix-toy-rlvr", "arithmetic", split="test")
assert len(rows) == 5 * 2 * 18 and set(rows["score"]) <= {0.0, 1.0}
mixture = load_dataset(f"{org}/permix-mixture-arithmetic-permix-rlvr", split="train")
assert mixture[0]["prompt"][0]["role"] == "system" and mixture[0]["persona"] in pools["train"]["key"]
model = AutoPeftModelForCausalLM.from_pretrained(f"{org}/permix-toy-permix-rlvr")
assert any("lora_B" in n for n, _ in model.named_parameters())
metric = evaluate.load(f"{org}/pss")
assert metric.compute(scores=[1, 1, 0, 1], personas=["a", "a", "b", "b"])["pss"] == 0.5
assert len(load_dataset(f"{org}/permix-tables", "ours", split="test")) >= 6
print("loaded")
"""
"""How the artifacts of recipe smoke look to the libraries that the pages use."""


@pytest.fixture(scope="module")
def printed(smoke: Path) -> list[str]:
    """The commands with which a run ends: each loads what it published."""
    ending = permix(smoke, "run", "--recipe", "smoke").stdout.split("Load what was published:\n")[1]
    *lines, collection = ending.strip().splitlines()
    assert collection.startswith("Collection: http://127.0.0.1:")
    assert len(lines) == 3
    return lines


def test_a_command_that_a_run_prints_works_when_pasted(printed: list[str], smoke: Path, tmp_path: Path) -> None:
    done = shell(printed[0], smoke, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_every_program_on_a_page_or_in_a_printed_command_prints_something(printed: list[str], home: Path) -> None:
    """One process runs them all."""
    codes = [code.replace("permix/p", "permix-smoke/p") for code in blocks("python")]
    codes += [STOCK, *(shlex.split(line)[-1] for line in printed)]
    program = f"for code in {codes!r}:\n    exec(code, {{}})\n    print('END')"
    *outputs, _ = permix(home, "hub", "exec", "--", sys.executable, "-c", program).stdout.split("END\n")
    assert [bool(output.strip()) for output in outputs] == [True] * len(codes)


@pytest.mark.parametrize("text", blocks("toml"))
def test_a_recipe_example_has_a_plan(text: str) -> None:
    whole = {"variants": ["base", "rlvr", "permix-rlvr", "permix-sft-styled"], "benchmarks": ["arithmetic"]}
    assert plan.build(recipes.parse({"name": "mine", **whole, **tomllib.loads(text)}, "mine.toml"))


@pytest.mark.parametrize("beginning", ELSEWHERE)
def test_a_command_that_runs_elsewhere_is_on_a_page(beginning: str) -> None:
    assert any(command.startswith(beginning) for command in commands())


def mentions() -> Iterator[list[str]]:
    """The words of every `permix …` on a page, in a block or in a sentence, without `permix` itself."""
    for command in commands():
        words = shlex.split(command)
        yield from (words[n + 1 :] for n, word in enumerate(words) if word == "permix")
    for page in PAGES.values():
        for code in re.findall(r"`permix ([^`]+)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL)):
            yield shlex.split(code)


@pytest.mark.parametrize("words", list({" ".join(words): words for words in mentions()}.values()), ids=" ".join)
def test_a_mentioned_command_has_its_options(words: list[str]) -> None:
    command, options = CLI, {"--help"}
    for word in words:
        if word == "--":
            break
        options |= {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        if word.startswith("-"):
            assert word in options
        elif isinstance(command, typer.core.TyperGroup) and word != "STAGE":
            command = command.commands[word] if word in command.commands else pytest.fail(f"no command {word}")


NAMES = {
    name if not isinstance(command, typer.core.TyperGroup) else f"{name} {below}"
    for name, command in CLI.commands.items()  # type: ignore[attr-defined]
    for below in getattr(command, "commands", [""])
}
"""Every command of permix, groups by their subcommands."""


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_page_names_the_command(name: str) -> None:
    assert any(f"permix {name}" in page for page in PAGES.values())


@pytest.mark.parametrize("path", PATHS)
def test_links_lead_somewhere(path: str) -> None:
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]+))?\)", PAGES[path]):
        linked = (ROOT / path).parent / target if target else ROOT / path
        assert linked.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [title.lower().replace(" ", "-") for title in titles]


def tree() -> list[str]:
    """The paths of the README's tree."""
    (text,) = re.findall(r"\n\n```\n(\S.*?)```", PAGES["README.md"], re.DOTALL)
    paths, folder = [], ""
    for line in text.splitlines():
        name = line.split()[0]
        folder = folder if line.startswith(" ") else name
        paths.append(folder + name if line.startswith(" ") else name)
    return paths


@pytest.mark.parametrize("path", tree())
def test_the_tree_of_the_readme_exists(path: str) -> None:
    assert (ROOT / path).is_dir() == path.endswith("/")


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").stat().st_size <= 5000


@pytest.mark.parametrize("path", [path for path in PAGES if "/guides/" in path])
def test_a_guide_is_one_screen_and_the_readme_leads_to_it(path: str) -> None:
    assert len(PAGES[path].splitlines()) <= 90
    assert f"({path})" in PAGES["README.md"]


def test_the_table_of_stages_has_every_stage() -> None:
    names = re.findall(r"^\| `(\w+)` \| .*`permix \w", PAGES["pipelines/README.md"], re.MULTILINE)
    assert sorted(names) == sorted(stages.NAMES)


def test_the_table_of_wings_has_every_wing() -> None:
    folders = {f"{path.name}/" for path in (ROOT / "pipelines" / "permix").iterdir() if (path / "__init__.py").exists()}
    table = PAGES["pipelines/README.md"].partition("## Wings")[2].partition("\n## ")[0]
    assert folders == set(re.findall(r"`(\w+/)`", "".join(re.findall(r"^\|([^|]+)\|", table, re.MULTILINE))))


def test_hub_serve_runs_in_the_foreground_until_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "permix", "hub", "serve", "--root", str(tmp_path / "hub"), "--port", "0"]
    environment, null = environment_of(tmp_path), subprocess.DEVNULL
    server = subprocess.Popen(command, env=environment, stdout=null, stderr=null)
    try:
        state = tmp_path / "hub" / "server.json"
        wait_until(state.exists)
        assert json.loads(state.read_text())["pid"] == server.pid
        assert launch.attach(tmp_path / "hub").url.startswith("http://127.0.0.1:")
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=20) in (0, 130, -signal.SIGINT)
