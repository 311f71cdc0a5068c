"""`--on jobs` and permix jobs, on the embedded Hub: a sweep of a served model in Jobs of one's own machine."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedded_hub import launch
from permix.automation.jobs import build, bundle, follow, price, submit
from permix.automation.jobs.build import JobTerms
from permix.commands import run as runs
from permix.errors import BadInput, PermixError
from permix.pipeline.plan import Plan, RunRequest
from tests.support import hubs
from tests.support.adder import KEY, add
from tests.support.command_line import environment_of, permix, permix_here
from tests.support.faulty_server import Answer, Asked, FaultyServer, error
from tests.support.hubs import hub_of

SWEEP = "datasets/permix-smoke/permix-sweep-good-model-served"


class Gate:
    """Answers sums, but not while it is closed: then it asks for patience."""

    closed = False

    def __call__(self, question: Asked) -> Answer:
        return error(429, "Slow down.") if self.closed else add(question)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("jobs") / "home"
    permix_here(home, "personas", "--recipe", "smoke")
    return home


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate()


@pytest.fixture(scope="module")
def server(gate: Gate) -> Iterator[FaultyServer]:
    with FaultyServer(gate) as server:
        yield server


def words(server: FaultyServer, tag: str, *more: str, key: str = "MY_KEY") -> list[str]:
    command = ["sweep", "--endpoint", server.url, "--model", "good-model", "--key", key, "--set", f"tag={tag}"]
    return [*command, "--limit", "2", "--runs", "1", "--benchmark", "arithmetic", "--recipe", "smoke", *more]


def started(home: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "permix", *arguments], env=environment_of(home, MY_KEY=KEY), cwd=home,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def its_job(child: "subprocess.Popen[str]") -> str:
    """The Job that a command tells of; returned when it has begun to follow it."""
    match = next(m for line in child.stderr if (m := re.match("Job ([0-9a-f]{24}) makes", line)))
    next(line for line in child.stderr if line.startswith("The embedded Hub runs this job"))
    return str(match[1])


def record(home: Path, repo: str) -> dict[str, Any]:
    head = hub_of(home).state(repo)
    assert head.record
    assert head.intact
    return dict(head.record)


def test_what_a_job_makes_is_what_is_made_here(home: Path, server: FaultyServer) -> None:
    local_run = permix_here(home, *words(server, "here"), MY_KEY=KEY)
    in_job = permix(home, *words(server, "there", "--on", "jobs", "--max-cost", "1"), MY_KEY=KEY)
    again = permix_here(home, *words(server, "there", "--on", "jobs"), MY_KEY=KEY)
    assert "1 Job on cpu-basic, 0.01 USD an hour: about 0.0 h and 0.00 USD" in in_job.stderr
    assert in_job.stdout.splitlines()[1:] == local_run.stdout.splitlines()[1:]
    assert again.stdout == in_job.stdout
    assert "Job" not in again.stderr, "what is current needs no Job"
    local, remote = record(home, f"{SWEEP}-here"), record(home, f"{SWEEP}-there")
    for name in ("digest", "content_digest", "files", "code"):
        assert local[name] == remote[name]
    listed = permix_here(home, "jobs").stdout
    assert "COMPLETED" in listed
    assert "permix sweep --recipe smoke" in listed
    log = permix_here(home, "jobs", "logs", listed.split()[0]).stdout
    stored = [path.read_bytes() for path in (home / "jobs").iterdir()]
    hub = hub_of(home)
    head = hub.state("datasets/permix-smoke/permix-jobs")
    sent = [hub.download(f"{head.repo}@{head.sha}", path).read_bytes() for path in head.files]
    for secret in (KEY, str(hub.token)):
        assert secret not in log + listed + in_job.stderr
        assert not any(secret.encode() in data for data in (*stored, *sent))


def test_a_killed_or_interrupted_command_finds_its_job_again(home: Path, server: FaultyServer, gate: Gate) -> None:
    command = words(server, "lost", "--on", "jobs", "--limit", "3")  # more than is answered already
    gate.closed = True
    first = started(home, *command)
    job = its_job(first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = started(home, *command)
    assert its_job(second) == job
    second.send_signal(signal.SIGINT)
    assert f"detached; Job {job} still runs: `permix jobs attach {job}`" in second.communicate()[1]
    assert second.returncode == 130
    left = permix(home, *command, "--detach", MY_KEY=KEY)
    assert left.stdout == f"{job}\n"
    assert f"This command runs already, in Job {job}." in left.stderr
    attached = started(home, "jobs", "attach", job)
    assert attached.stderr.readline().startswith("The embedded Hub runs this job")
    assert permix(home, "jobs", "cancel", job).stdout.startswith(job)
    assert f"permix: Job {job} ended with CANCELED: " in attached.communicate()[1]
    assert attached.returncode == 1
    gate.closed = False
    assert next(iter(hub_of(home).api.list_jobs(namespace="permix-smoke"))).id == job, "no second one"
    assert hub_of(home).state(f"{SWEEP}-lost") is None, "nothing is published in part"


def test_a_job_that_fails_or_runs_out_of_time_says_why(home: Path, server: FaultyServer) -> None:
    failed = permix(home, *words(server, "wrong", "--on", "jobs", "--max-tokens", "7"), check=False, MY_KEY="nope")
    last = failed.stderr.splitlines()[-1]
    assert failed.returncode == 2
    assert "ended with ERROR: " in last
    assert "key" in last
    assert "nope" not in last
    late = permix(home, *words(server, "late", "--on", "jobs", "--timeout", "1s"), check=False, MY_KEY=KEY)
    assert late.returncode == 1
    assert "ended with ERROR: Job timeout" in late.stderr.splitlines()[-1]
    for tag in ("wrong", "late"):
        assert hub_of(home).state(f"{SWEEP}-{tag}") is None, "nothing is published in part"


def test_a_job_whose_token_has_expired_says_so(home: Path) -> None:
    hub = hub_of(home)
    launch.allow_jobs(home / "hub")
    boot = ["python", "-c", submit.BOOT.read_text(), "/datasets/permix-smoke/permix-jobs/resolve/main/x.zip"]
    secrets = {"HF_TOKEN": "hf_expired"}
    job = hub.api.run_job(image="python:3.12", command=boot, secrets=secrets, namespace="permix-smoke")
    sentence = "ended with ERROR: http.* answered 401 to this Job: its token has expired, or may not read /datasets"
    with pytest.raises(PermixError, match=sentence):
        follow.to_the_end(job, hub)


def test_a_sweep_fans_out_over_benchmarks_after_what_its_jobs_share(home: Path, server: FaultyServer) -> None:
    more = ("--set", "org=fan", "--benchmark", "arithmetic-long", "--on", "jobs", "--fan-out", "benchmarks")
    done = permix(home, *words(server, "fan", *more), MY_KEY=KEY)
    assert done.stderr.startswith("Note: ")
    assert "3 Jobs on cpu-basic" in done.stderr
    sweeps = [f"datasets/fan/permix-sweep-good-model-served-{name}-fan" for name in ("arithmetic", "arithmetic-long")]
    targets = re.findall(r"^Job \S+ makes ([^:]+):", done.stderr, re.MULTILINE)
    assert targets == ["datasets/fan/permix-personas", *sweeps]
    assert re.findall(r"^(datasets/\S+)@", done.stdout, re.MULTILINE) == sweeps


def test_what_jobs_share_is_made_once_also_where_it_is_asked_afresh() -> None:
    hub, terms = hubs.embedded(Path("unused")), JobTerms("cpu-basic", "1h", None, False, "variants")
    chosen = RunRequest("smoke", ('org="shared"',), "sweep", fresh=("personas", "base", "sweep"))
    plans = [Plan.of(part) for part in chosen.split("variants")]
    assert [plan.recipe.variants for plan in plans] == [("base",), ("rlvr",), ("permix-rlvr",)]
    for plan in plans:
        plan.look_up(hub)
    sentence = "Several Jobs need shared/permix-toy-base, which a Job before them would make: omit --detach"
    with pytest.raises(BadInput, match=sentence):
        build.build(plans, terms, hub)
    before = build._shared(plans, replace(terms, wait=True), hub)
    assert [plan.request.until for plan in before] == ["base", "personas"]
    for plan in before:
        build._leave_out(plan, plans, hub)
    assert [plan.request.fresh for plan in plans] == [("sweep",)] * 3


def test_what_cannot_be_submitted_is_one_sentence() -> None:
    hub = hubs.embedded(Path("unused"))
    with pytest.raises(BadInput, match=r"There is no flavor 'a100-lrage' on .*: did you mean 'a100-large'\?"):
        price.flavor("a100-lrage", hub)
    steps_ = Plan.of(RunRequest("paper", (), "personas")).steps
    dear = price.flavor("a100-large", hub)
    assert "1 Job on a100-large, 2.50 USD an hour: " in price.check(dear, [steps_], "4h", 10.0, hub)
    advice = "may cost 20.00 USD, --max-cost is 5.00: lower --timeout to 60m, or raise --max-cost"
    with pytest.raises(BadInput, match=f"2 Jobs on a100-large for at most 4h {advice}"):
        price.check(dear, [steps_, steps_], "4h", 5.0, hub)
    with pytest.raises(BadInput, match="are for Jobs: add --on jobs"):
        runs.job_terms("here", "a100-large", "", None, True)
    with pytest.raises(BadInput, match="There is no Job 000 on"):
        follow.find(hub, "000")


def test_a_jobs_command_brings_its_files_along(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('base = "org/model"\nbenchmarks = ["arithmetic"]\nvariants = ["base"]\n')
    (tmp_path / "crew.json").write_text(json.dumps([{"key": "cook", "category": "c", "system_prompt": "Cook."}]))
    people = f'personas.eval="{tmp_path}/crew.json"'
    plan = Plan.of(RunRequest(str(tmp_path / "own.toml"), (people, "sweep.runs=2"), "sweep", workers=1))
    script = build.command(plan)
    assert (set(script.contents), script.extras) == ({"own.toml", "personas/crew.json"}, ("train",))
    changes = ["--set", people, "--set", "sweep.runs=2", "--set", 'personas.eval="personas/crew.json"']
    assert list(script.arguments) == ["sweep", "--recipe", "own.toml", *changes, "--workers", "1"]
    assert bundle.make(script.arguments, script.contents, ()) == bundle.make(script.arguments, script.contents, ())
    other = submit.Command(script.org, script.arguments, script.contents | {"own.toml": b"x"}, {}, ())
    assert other.digest != script.digest


def test_requirements_are_pinned_to_what_is_installed_here() -> None:
    core, train = bundle.requirements([]), bundle.requirements(["train"])
    assert set(core) < set(train)
    assert "huggingface-hub==2.4.0" in core
    assert all("==" in line and "+" not in line for line in train)


def test_a_duration_in_seconds() -> None:
    assert [price.seconds(text) for text in ("45s", "1.5h", "2d")] == [45, 5400, 172800]
    for odd in ("", "4", "h", "-1h", "0s"):
        with pytest.raises(BadInput, match="--timeout"):
            price.seconds(odd)
    assert runs.job_terms("here", "", "", None, True) is None
