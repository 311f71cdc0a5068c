"""The recipe toy-full with tiny models: teachers and rewrites from the command line, through the real runner."""

import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from embedded_hub import launch
from permix.pipeline import recipes
from tests.support.command_line import permix, permix_here, refused
from tests.support.faulty_server import FaultyServer, completion

TINY = ["org=tiny", "task.limit=12", "teachers.max_tokens=8"]
TINY += [
    f"toy.{role}{key}" for role in ("", "teacher.") for key in ("steps=4", "hidden_size=32", "layers=1", "heads=1")
]
TINY += ["toy.checked_problems=1"]
SET = ["--workers", "1", *(word for change in TINY for word in ("--set", change))]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("toy-full")
    for stage in ("teachers", "rewrites"):
        permix_here(home, stage, "--recipe", "toy-full", *SET)
    return home


def test_it_runs_all_that_needs_no_foreign_model() -> None:
    plan = recipes.load("toy-full")
    assert (len(plan.variants), plan.settings("base")) == (8, recipes.load("toy").settings("base"))
    assert (plan.task, plan.settings("grpo")) == (recipes.load("toy").task, recipes.load("toy").settings("grpo"))


def test_teachers_and_rewrites_are_published_with_their_configurations(home: Path) -> None:
    running = launch.attach(home / "hub")
    api = HfApi(running.url, token=running.token)
    datasets = {d.id: d for d in api.list_datasets(author="tiny")}
    assert {"tiny/permix-arithmetic-teacher-toy", "tiny/permix-arithmetic-styled"} <= set(datasets)
    assert "tiny/permix-toy-teacher" in {m.id for m in api.list_models(author="tiny")}
    code = "from datasets import load_dataset as l; n = 'tiny/permix-arithmetic-'; "
    code += "print([l(n + 'teacher-toy', c, split='train').num_rows for c in ('plain', 'persona')], "
    code += "l(n + 'styled', split='train')[0]['status'])"
    done = permix(home, "hub", "exec", "--", sys.executable, "-c", code)
    assert done.stdout.split("\n")[-2] == "[12, 12] correct"


def test_a_second_run_makes_nothing(home: Path) -> None:
    done = permix_here(home, "teachers", "--recipe", "toy-full", *SET)
    assert "making" not in done.stderr
    assert done.stderr.count("current") == 3


def test_a_missing_key_is_said_before_anything_is_made(tmp_path: Path) -> None:
    error = refused(tmp_path, "run", "--recipe", "toy-full", "--set", "rewrites.model=gpt-5-mini")
    assert error.startswith("permix: The environment variable OPENAI_API_KEY is not set")


def test_a_preview_shows_eight_rewrites_with_the_cost_of_all_and_publishes_none(home: Path) -> None:
    with FaultyServer(lambda request: completion("Arr, \\boxed{-1}")) as server:
        mine = [f"model.mine.url={server.url}", "model.mine.model=good-model", "model.mine.price_out=1000.0"]
        more = [word for change in mine for word in ("--set", change)]
        arguments = ["rewrites", "--recipe", "toy-full", *SET, *more, "--model", "mine", "--preview"]
        done = permix_here(home, *arguments, "--no-verify")
        assert (done.stdout.count("--- arithmetic/train/"), done.stdout.count("wrong, gold")) == (8, 8)
        last = "0 rewrites of 8 problems rejected. All 12 problems: about 144 tokens, 0.02 USD.\n"
        assert done.stdout.endswith(last)
        assert len(server.asked) == 8
        assert "No rewrite of mine was kept (24 x wrong)" in refused(home, *arguments, code=1, run=permix_here)
