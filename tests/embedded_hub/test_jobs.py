"""Jobs that really run, as clients start and follow them."""

import functools
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, JobNotFoundError

from embedded_hub import launch
from embedded_hub.context import ServerContext
from tests.support.cases import cases
from tests.support.servers import accounts_of, stop
from tests.support.waiting import wait_until
from tests.support.wire import Wire

IMAGE = "python:3.12"


@pytest.fixture(scope="session")
def jobs(working: launch.Running) -> HfApi:
    return HfApi(endpoint=working.url, token=working.token)


def run(api: HfApi, program: str, **more: Any) -> Any:
    return api.run_job(image=IMAGE, command=["python", "-c", program], namespace="permix", **more)


def ended(api: HfApi, job: Any) -> tuple[str, str | None, list[str]]:
    """Follow a Job to its end; return its stage, message and log without the first line."""
    lines = list(api.fetch_job_logs(job_id=job.id, follow=True, namespace="permix"))
    status = api.inspect_job(job_id=job.id, namespace="permix").status
    return status.stage, status.message, lines[1:]


def test_a_job_has_its_own_environment_alone_and_tells_no_secret(jobs: HfApi, working: launch.Running) -> None:
    program = "import os, sys; print(sorted(os.environ.items())); print('oops', file=sys.stderr)"
    job = run(jobs, program, env={"COLOUR": "blue"}, secrets={"HF_TOKEN": "hf_very_secret"}, labels={"a": "1"})
    assert job.docker_image == IMAGE
    assert job.secrets == {"HF_TOKEN": None}
    assert job.labels["a"] == "1"
    stage, message, lines = ended(jobs, job)
    assert (stage, message, lines[1]) == ("COMPLETED", None, "oops\n")
    environment = dict(eval(lines[0]))
    assert environment["COLOUR"] == "blue"
    assert environment["HF_TOKEN"] == "hf_very_secret"
    assert (environment["HF_ENDPOINT"], environment["JOB_ID"]) == (working.url, job.id)
    assert {"ACCELERATOR", "CPU_CORES", "MEMORY"} < environment.keys()
    assert "PYTEST_CURRENT_TEST" not in environment
    first = next(iter(jobs.fetch_job_logs(job_id=job.id, namespace="permix")))
    assert "the image python:3.12 is not used" in first
    assert list(jobs.fetch_job_logs(job_id=job.id, tail=1, namespace="permix")) == ["oops\n"]
    on_disk = [path for path in (working.root / "jobs" / job.id).rglob("*") if path.is_file() and path.name != "log"]
    assert on_disk
    assert not any(b"hf_very_secret" in path.read_bytes() for path in on_disk)
    assert (working.root / "hub.db").stat().st_mode & 0o077 == 0


def test_a_failing_job_is_tried_again_as_often_as_asked_and_is_an_error(jobs: HfApi) -> None:
    stage, message, lines = ended(jobs, run(jobs, "print('in vain'); exit(3)", attempts=2))
    assert (stage, message) == ("ERROR", "Job failed with exit code: 3")
    assert lines == ["in vain\n", "Attempt 2 of 2.\n", "in vain\n"]
    missing = jobs.run_job(image=IMAGE, command=["no-such-command"], namespace="permix")
    assert ended(jobs, missing) == (
        "ERROR", "Job failed with exit code: 127", ["no-such-command: No such file or directory\n"],
    )  # fmt: skip


def test_a_job_that_takes_too_long_is_ended_with_all_that_it_started(jobs: HfApi) -> None:
    program = "import subprocess, time; print(subprocess.Popen(['sleep', '99']).pid, flush=True); time.sleep(99)"
    stage, message, lines = ended(jobs, run(jobs, program, timeout=1))
    assert stage == "ERROR"
    assert "it ran longer than 1 s" in str(message)
    assert _gone(int(lines[0]))


def test_a_job_is_cancelled_while_it_runs_and_while_it_waits(jobs: HfApi, working: launch.Running) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGINT, print); print('up', flush=True); time.sleep(99)"
    running = run(jobs, stubborn)
    assert [line for _, line in zip(range(2), _following(jobs, running), strict=False)][1] == "up\n"
    waiting = run(jobs, "print('never')", labels={"who": "waits"})
    assert waiting.status.stage == "SCHEDULING"  # one at a time on a small machine
    jobs.cancel_job(job_id=waiting.id, namespace="permix")
    assert jobs.inspect_job(job_id=waiting.id, namespace="permix").status.stage == "CANCELED"
    jobs.cancel_job(job_id=running.id, namespace="permix")
    assert ended(jobs, running)[0] == "CANCELED"
    jobs.cancel_job(job_id=running.id, namespace="permix")  # harmless
    listed = list(jobs.list_jobs(namespace="permix", status="CANCELED", labels={"who": "waits"}))
    assert [job.id for job in listed] == [waiting.id]
    assert jobs.update_job_labels(job_id=waiting.id, labels={"x": "y"}, namespace="permix").labels == {"x": "y"}
    again = jobs.rerun_job(job_id=waiting.id, namespace="permix")
    assert again.initiator is not None
    assert again.initiator.type == "duplicated-job"
    assert ended(jobs, again)[::2] == ("COMPLETED", ["never\n"])


def test_what_a_running_job_takes_of_the_machine(jobs: HfApi) -> None:
    busy = run(jobs, "print('up', flush=True)\nwhile True: pass", timeout=120)
    next(line for line in _following(jobs, busy) if line == "up\n")
    while True:  # on a busy machine its turn may come after the first look
        (sample,) = jobs.fetch_job_metrics(job_id=busy.id, namespace="permix")
        if sample["cpu_usage_pct"] > 0:
            break
    assert sample["cpu_millicores"] >= 1000
    assert sample["gpus"] == {}
    assert sample["memory_total_bytes"] > sample["memory_used_bytes"] > 0
    jobs.cancel_job(job_id=busy.id, namespace="permix")
    assert ended(jobs, busy)[0] == "CANCELED"
    assert list(jobs.fetch_job_metrics(job_id=busy.id, namespace="permix")) == []


def test_a_job_outlives_the_server_and_the_next_one_follows_it(tmp_path: Path) -> None:
    root = tmp_path / "hub"
    first = launch.attach(root, 0)
    launch.allow_jobs(root)
    api = HfApi(endpoint=first.url, token=first.token)
    program = "import os, time\nprint(os.getppid(), flush=True)\nwhile not os.path.exists('go'): time.sleep(.02)"
    living, killed, after = (run(api, f"{program}\nprint({n})") for n in range(3))
    next(line for line in _following(api, living) if line.strip().isdigit())
    stop(root, signal.SIGKILL)
    second = launch.attach(root, 0)
    try:
        api = HfApi(endpoint=second.url, token=second.token)
        assert api.inspect_job(job_id=living.id, namespace="permix").status.stage == "RUNNING"
        (root / "jobs" / living.id / "work" / "go").touch()
        assert ended(api, living)[::2] == ("COMPLETED", [ended(api, living)[2][0], "0\n"])
        supervisor = next(int(line) for line in _following(api, killed) if line.strip().isdigit())
        os.kill(supervisor, signal.SIGKILL)
        stage, message, _ = ended(api, killed)
        assert stage == "ERROR"
        assert "killed from outside" in str(message)
        next(line for line in _following(api, after) if line.strip().isdigit())
        stop(root, signal.SIGKILL)
        (root / "jobs" / after.id / "work" / "go").touch()
        wait_until(lambda: not launch.held(root / "jobs" / after.id / "alive"), every=0.02)  # while no server runs
        third = launch.attach(root, 0)
        assert ended(HfApi(endpoint=third.url, token=third.token), after)[0] == "COMPLETED"
    finally:
        stop(root, signal.SIGKILL)


def test_jobs_are_off_by_default_and_need_the_right_to_write(api: HfApi, jobs: HfApi, working: launch.Running) -> None:
    with pytest.raises(HfHubHTTPError, match="does not run Jobs"):
        run(api, "print(1)")
    with accounts_of(working.root) as accounts:
        reader, other = accounts.new_token("reader", "reader", "read"), accounts.new_token("eve", "eve", "write")
        accounts.add_member("permix", "reader")
    with pytest.raises(HfHubHTTPError, match="403"):
        run(HfApi(endpoint=working.url, token=reader), "print(1)")
    for refused in (lambda api: run(api, "print(1)"), lambda api: list(api.list_jobs(namespace="permix"))):
        with pytest.raises(HfHubHTTPError, match="404"):
            refused(HfApi(endpoint=working.url, token=other))
    with pytest.raises(JobNotFoundError):
        jobs.inspect_job(job_id="0" * 24, namespace="permix")


@pytest.mark.parametrize("change", cases(__file__)["refusals"])
def test_invalid_jobs_are_refused(working: launch.Running, change: dict[str, Any]) -> None:
    wire = Wire.to(working)
    answer = wire("POST", "/api/jobs/permix", {"command": ["ls"], "dockerImage": "x"} | change)
    assert answer.status == 400
    assert len(answer.json["error"]) < 300


def test_the_command_line_follows_a_job(working: launch.Running, tmp_path: Path) -> None:
    import subprocess

    hf = Path(sys.executable).with_name("hf")
    done = subprocess.run(
        [hf, "jobs", "run", IMAGE, "python", "-c", "print('from', 'hf')"],
        env=launch.environment(working, tmp_path), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "from hf" in done.stdout, done.stderr


def test_hardware_is_listed_with_prices(jobs: HfApi) -> None:
    flavors = {flavor.name: flavor for flavor in jobs.list_jobs_hardware()}
    assert flavors["cpu-basic"].accelerator is None
    assert flavors["a100-large"].unit_cost_usd * 60 == pytest.approx(2.5, rel=1e-3)


def test_a_webhook_starts_a_job_with_what_happened(jobs: HfApi) -> None:
    program = "import json, os; print(json.loads(os.environ['WEBHOOK_PAYLOAD'])['event']['scope'])\n"
    program += "print([os.environ['WEBHOOK_' + name] for name in ('REPO_ID', 'REPO_TYPE', 'SECRET')], os.environ['K'])"
    source = run(jobs, program, env={"WEBHOOK_PAYLOAD": '{"event": {"scope": "trial"}}'})
    jobs.create_repo("lab/watched")
    webhook = jobs.create_webhook(
        job_id=source.id, watched=[{"type": "model", "name": "lab/watched"}], secret="s", secrets={"K": "k"}
    )
    assert webhook.job is not None
    assert webhook.job.secrets == {"K": None}
    jobs.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id="lab/watched")
    listed = functools.partial(jobs.list_jobs, namespace="permix")
    started = wait_until(lambda: [job for job in listed() if job.initiator.type == "webhook"])
    assert ended(jobs, started[0]) == ("COMPLETED", None, ["repo.content\n", "['lab/watched', 'model', 's'] k\n"])
    assert len(started) == 1


def test_scheduled_jobs_are_refused_in_one_sentence(jobs: HfApi) -> None:
    with pytest.raises(HfHubHTTPError, match="does not offer POST /api/scheduled-jobs/permix") as refusal:
        jobs.create_scheduled_job(image=IMAGE, command=["ls"], schedule="@hourly", namespace="permix")
    assert refusal.value.response.status_code == 501


def test_a_data_directory_with_the_tables_of_scheduled_jobs_opens(tmp_path: Path) -> None:
    """They were written by earlier versions."""
    with closing(sqlite3.connect(tmp_path / "hub.db")) as database:
        database.execute("CREATE TABLE scheduled_jobs(id TEXT PRIMARY KEY, namespace TEXT, schedule TEXT, due REAL)")
        database.execute("INSERT INTO scheduled_jobs VALUES ('1', 'permix', '@hourly', 0)")
        database.commit()
    context = ServerContext(tmp_path)
    assert context.jobs.all("permix") == []


def _following(api: HfApi, job: Any) -> Iterator[str]:
    return iter(api.fetch_job_logs(job_id=job.id, follow=True, namespace="permix"))


def _gone(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().split()[2] == "Z"
    except OSError:
        return True
