"""The workflows as they are written: checked by zizmor, by GitHub's own schema, and for what neither looks at."""

import inspect
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from permix import files
from permix.commands import ci
from tests.support.workflows import ROOT, WORKFLOWS, expressions, load, names

PIN = re.compile(r"^\s*(?:- )?uses: ([\w.-]+/[\w.-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$")
COMMAND = re.compile(
    r"permix ci (?P<step>[\w-]+)|make (?P<target>[\w-]+)( PYTHON=python)?"
    r"|pip install (-c constraints\.txt|--upgrade --upgrade-strategy eager) "
    r"(\.|'\.\[train\]'|\"\$PACKAGE\")( hatchling)?"
    r"|python -m hatchling build"
)
NAMED = ("ORG", "RECIPE", "ADAPTERS", "BENCHMARKS", "LIMIT", "FLAVOR", "MAX_COST", "TIMEOUT", "RUNNER")
VARIABLES = {f"PERMIX_{name}" for name in NAMED}
WRITES = {("publish", "pypi"), ("publish", "hub")}
"""The jobs that may ask for an identity of their own; nothing else is written through GitHub's token."""
STEPS = {command.name or command.callback.__name__: command.callback for command in ci.app.registered_commands}  # type: ignore[union-attr]
WORKFLOW_CONTEXTS = {"github", "vars", "inputs"}
JOB_CONTEXTS = WORKFLOW_CONTEXTS | {"needs", "matrix"}
STEP_CONTEXTS = JOB_CONTEXTS | {"steps", "secrets"}


def jobs(name: str) -> dict[str, Any]:
    pages: dict[str, Any] = load(name)["jobs"]
    return pages


EVERY_JOB = [(name, job) for name in WORKFLOWS for job in jobs(name)]


def checked(*command: str) -> str:
    """The output of a checker, which must find nothing. It comes with permix[dev]."""
    program = shutil.which(command[0], path=str(Path(sys.executable).parent))
    assert program, f"{command[0]} is not installed: pip install -e '.[dev]'"
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_zizmor_finds_nothing() -> None:
    assert "No findings to report" in checked("zizmor", "--offline", "--persona", "auditor", ".github")


def test_they_are_what_githubs_schemas_ask_for() -> None:
    checked("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS.values()))
    checked("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml")


def test_there_are_four_with_the_events_they_are_for() -> None:
    events = {name: set(load(name)["on"]) for name in WORKFLOWS}
    assert events == {
        "drift": {"schedule", "workflow_dispatch"},
        "evaluate": {"workflow_dispatch", "repository_dispatch", "schedule"},
        "publish": {"release", "workflow_dispatch"},
        "tests": {"push", "pull_request"},
    }
    (kind,) = load("evaluate")["on"]["repository_dispatch"]["types"]
    assert f'"{kind}"' in (files.SPACES / "permix-relay" / "outbox.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_by_commit_and_keep_no_credentials(name: str) -> None:
    lines = [line for line in WORKFLOWS[name].read_text(encoding="utf-8").splitlines() if "uses:" in line]
    assert lines, lines
    assert all(PIN.match(line) for line in lines), lines
    steps = [step for job in jobs(name).values() for step in job["steps"]]
    for step in steps:
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"] == {"persist-credentials": False}


def test_one_action_is_at_one_commit_everywhere() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in WORKFLOWS.values())
    pins = {PIN.match(line).groups() for line in text.splitlines() if "uses:" in line}  # type: ignore[union-attr]
    assert len({action for action, *_ in pins}) == len(pins)


@pytest.mark.parametrize(("name", "job"), EVERY_JOB)
def test_a_job_has_an_end_and_no_more_rights_than_it_uses(name: str, job: str) -> None:
    whole, page = load(name), jobs(name)[job]
    assert (whole["permissions"], set(whole["concurrency"])) == ({}, {"group", "cancel-in-progress"})
    assert page["timeout-minutes"]
    assert page["runs-on"]
    assert page["name"]
    identity = {"id-token": "write"} if (name, job) in WRITES else {}
    assert page["permissions"].items() - {"contents": "read"}.items() == identity.items()
    around = {dotted.partition(".")[0] for e in expressions(whole.get("env")) for dotted in names(e)}
    assert not {"secrets", "needs", "steps"} & around
    used = {dotted for e in expressions(page) for dotted in names(e) if dotted.startswith("secrets.")}
    assert used <= {"secrets.HF_TOKEN"}
    assert not used or page["environment"] == "hub"
    assert not identity or page["environment"] in ("pypi", "hub-publish"), "who may publish is decided there"


@pytest.mark.parametrize(("name", "job"), EVERY_JOB)
def test_a_step_is_one_command_of_ours_with_the_environment_it_needs(name: str, job: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for step in jobs(name)[job]["steps"]:
        if "uses" in step:
            assert "run" not in step
            continue
        match = COMMAND.fullmatch(step["run"])
        assert match, step["run"]
        assert not match["target"] or match["target"] in targets
        if match["step"]:
            environment = {**load(name).get("env", {}), **step.get("env", {})}
            for parameter in inspect.signature(STEPS[match["step"]], eval_str=True).parameters.values():
                if parameter.default is inspect.Parameter.empty:
                    (option,) = parameter.annotation.__metadata__
                    assert option.envvar in environment, f"{step['run']} needs {option.envvar}"


@pytest.mark.parametrize(("name", "job"), EVERY_JOB)
def test_every_name_in_an_expression_exists_where_it_is_used(name: str, job: str) -> None:
    whole, page = load(name), jobs(name)[job]
    outside = {key: value for key, value in whole.items() if key != "jobs"}
    around = {key: value for key, value in page.items() if key not in ("steps", "outputs")}
    places: list[tuple[Any, set[str], list[Any]]] = [
        (outside, WORKFLOW_CONTEXTS, []),
        (around, JOB_CONTEXTS, []),
        (page.get("outputs"), STEP_CONTEXTS, page["steps"]),
        *((step, STEP_CONTEXTS, page["steps"][:number]) for number, step in enumerate(page["steps"])),
    ]
    before = list(jobs(name))[: list(jobs(name)).index(job)]
    needs = page.get("needs", [])
    needs = [needs] if isinstance(needs, str) else needs
    assert set(needs) <= set(before), "a job needs jobs above it"
    for part, contexts, steps in places:
        for dotted in [dotted for expression in expressions(part) for dotted in names(expression)]:
            context, _, rest = dotted.partition(".")
            first, _, last = rest.partition(".")
            assert context in contexts, f"{dotted} does not exist here"
            if context == "matrix":
                assert first in page["strategy"]["matrix"]
            elif context == "needs":
                assert first in needs
                assert last.removeprefix("outputs.") in jobs(name)[first]["outputs"]
            elif context == "steps":
                assert first in [step.get("id") for step in steps]
            elif context == "vars":
                assert first in VARIABLES


def test_the_tests_run_on_every_python_that_the_package_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [line.rpartition(" ")[2] for line in project["classifiers"] if ":: Python :: 3." in line]
    assert jobs("tests")["test"]["strategy"]["matrix"]["python"] == named


def test_nothing_that_a_person_or_a_webhook_says_reaches_a_shell() -> None:
    for name, job in EVERY_JOB:
        for step in jobs(name)[job]["steps"]:
            assert not list(expressions(step.get("run")))
            dotted_names = [dotted for expression in expressions(step) for dotted in names(expression)]
            of_others = [dotted for dotted in dotted_names if dotted.startswith(("github.event", "inputs"))]
            assert not of_others, "permix ci reads the event itself"
