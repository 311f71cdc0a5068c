"""A worker: jobs in, messages out, one engine at a time."""

import dataclasses
import subprocess
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from permix import processes
from permix.errors import BadInput
from permix.pipeline.assignment import Assignment, Message, Samplers
from permix.pipeline.worker import main
from permix.sampling.sampler import Engine
from tests.support import trials
from tests.support.models import make_tiny_model
from tests.support.trials import step

Worker = tuple[Connection, "subprocess.Popen[bytes]"]


@pytest.fixture(autouse=True)
def trial_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    trials.join(monkeypatch)


@pytest.fixture
def worker(trial_stages: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.chdir(tmp_path)
    child, connection = processes.start(main, {"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin"}, 2)
    yield connection, child
    connection.close()
    child.kill()
    child.wait()


def job(folder: Path, **settings: object) -> Assignment:
    first = step("o", "a", **settings)
    for name in ("work", "out"):
        (folder / name).mkdir(exist_ok=True)
    return Assignment(first.target, first.stage.name, first.config, {}, {}, {}, folder / "work", folder / "out", 1)


def answers(pipe: Connection) -> list[Message]:
    """The messages of one job."""
    messages: list[Message] = []
    while not messages or messages[-1].kind == "progress":
        assert pipe.poll(30)
        messages.append(pipe.recv())
    return messages


def test_jobs_are_done_one_after_another(worker: Worker, tmp_path: Path) -> None:
    pipe, _ = worker
    for text in ("one", "two"):
        pipe.send(job(tmp_path, text=text))
        *progress, last = answers(pipe)
        assert [m.value for m in progress] == [(0, 2, "steps", ""), (2, 2, "steps", "done")]
        facts, seconds = last.value
        assert (last.kind, last.target) == ("done", "datasets/o/a")
        assert 0 <= seconds < 30
        assert facts["threads"] == 1
        assert (tmp_path / "out" / "data.txt").read_text() == text


def test_a_failed_job_does_not_end_the_worker(worker: Worker, tmp_path: Path) -> None:
    pipe, _ = worker
    pipe.send(job(tmp_path, does="refuse"))
    assert answers(pipe)[-1].value == ("The input is wrong.", 2)
    pipe.send(job(tmp_path))
    assert answers(pipe)[-1].kind == "done"


def test_a_worker_ends_when_its_pipe_does(worker: Worker) -> None:
    pipe, child = worker
    pipe.close()
    assert child.wait(timeout=30) == 0


def test_one_engine_is_open_at_a_time(tmp_path: Path) -> None:
    make_tiny_model(tmp_path)
    engine = Engine(base=tmp_path, batch_size=2)
    open_one = Samplers()
    first = open_one(engine)
    assert open_one(dataclasses.replace(engine)) is first
    second = open_one(dataclasses.replace(engine, batch_size=3))
    assert second is not first
    assert not hasattr(first, "_base")
    with pytest.raises(BadInput, match=r"holds no config\.json"):
        open_one(dataclasses.replace(engine, base=tmp_path / "nothing"))
    third = open_one(dataclasses.replace(engine, batch_size=3))
    assert third is not second
    assert hasattr(third, "_base")
