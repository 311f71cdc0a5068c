"""Measure my model: a small sweep of a repository that a visitor names, and a pull request with its results.

The sweep is `permix sweep`, in a local process (LOCAL, one at a time) or as a Job of the Hub, in an image with permix
and at the organisation's cost. It is published like every other sweep, so this page stores nothing.
"""

import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import shown
from artifacts import ABSENT, SWEEP, UNREADABLE, Artifact, Source
from huggingface_hub import HfApi, ModelInfo, get_token, metadata_update
from models import CONFIG, METRICS, Refused, check_name, config_of, information, sizes_of

LOCAL = "local"
MOST_WAITING, MOST_ENDED = 8, 50  # tasks in the table
MOST_BYTES = 4_000_000_000  # of the weights of a model and its base
MOST_FILES = 20_000_000_000  # bytes of all files in both repositories, which are downloaded
SECONDS = 3 * 3600.0  # until a sweep is cancelled
JOBS, POLL = 4, 2.0  # Jobs at a time, and seconds between two requests for a Job's state
TITLE = "Persona robustness: results of a permix sweep"
SECRET = re.compile("(KEY|TOKEN|SECRET|PASSWORD)S?$", re.IGNORECASE)


@dataclass
class Task:
    """One requested sweep; `state` is waiting, running, measured or failed."""

    repo: str
    model: list[str]  # --base and --adapter
    state: str = "waiting"
    problem: str = ""

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("waiting", "running")


class Queue:
    """The sweeps requested since the page started."""

    def __init__(self, org: str, image: str, recipe: str, flavor: str) -> None:
        """`image` is that of the Jobs, or LOCAL."""
        self._org, self._image, self._recipe, self._flavor = org, image, recipe, flavor
        self._tasks: dict[str, Task] = {}
        self._waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._lock = threading.Lock()
        run = self._in_process if image == LOCAL else self._in_job
        for _ in range(1 if image == LOCAL else JOBS):
            threading.Thread(target=self._work, args=(run,), daemon=True).start()

    def add(self, repo: str) -> str:
        """Queue a sweep of the repository and return a sentence for the page; raise Refused if it is not possible."""
        task = Task(repo, model_of(repo))
        with self._lock:
            if (old := self._tasks.get(repo)) and old.open:
                raise Refused(f"{repo} is already {old.state}.")
            if sum(other.open for other in self._tasks.values()) >= MOST_WAITING:
                raise Refused(f"{MOST_WAITING} models are already waiting: try again later.")
            for ended in [name for name, other in self._tasks.items() if not other.open][:-MOST_ENDED]:
                del self._tasks[ended]
            self._tasks[repo] = task
        self._waiting.put(task)
        return f"{repo} is waiting to be measured. You can close this page: its sweep will appear in the table."

    def rows(self) -> list[list[str]]:
        """Repository, state and problem of each task, the latest first."""
        with self._lock:
            return [[task.repo, task.state, task.problem] for task in reversed(self._tasks.values())]

    def _work(self, run: Callable[[Task], str]) -> None:
        while True:
            task = self._waiting.get()
            task.state = "running"
            try:
                task.problem = run(task)
            except Exception as error:  # a failure of the Hub or the machine must not end the queue
                task.problem = f"It could not be started ({type(error).__name__})."
            task.state = "failed" if task.problem else "measured"

    def _command(self, task: Task) -> list[str]:
        owner = task.repo.partition("/")[0]  # in the sweep's name: two owners can use the same model name
        settings = ["--set", f"org={self._org}", "--set", f"tag={owner}", "--hub", HfApi().endpoint]
        return ["sweep", "--recipe", self._recipe, *task.model, *settings]

    def _in_process(self, task: Task) -> str:
        """Run the sweep; return "" once it is published, else the problem."""
        environment = {name: value for name, value in os.environ.items() if not SECRET.search(name)}
        environment |= {"HF_TOKEN": get_token() or ""}
        work = Path(tempfile.gettempdir()) / f"permix-measure-{self._org}"  # requested again, the sweep resumes
        command = [sys.executable, "-m", "permix", *self._command(task), "--work", str(work)]
        try:
            ended = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return f"It took more than {SECONDS / 3600:g} hours."
        last = ended.stderr.strip().rpartition("\n")[2]
        return "" if ended.returncode == 0 else last.partition(" (log:")[0][:300] or "permix failed without a message."

    def _in_job(self, task: Task) -> str:
        """Run the sweep as a Job of the organisation; return as `_in_process`."""
        api = HfApi()
        secrets = {"HF_TOKEN": get_token() or ""}
        command = ["permix", *self._command(task)]
        job = api.run_job(
            image=self._image,
            command=command,
            secrets=secrets,
            flavor=self._flavor,
            timeout=SECONDS,
            namespace=self._org,
        )
        while (stage := job.status.stage) not in ("COMPLETED", "ERROR", "CANCELED", "DELETED"):
            time.sleep(POLL)
            job = api.inspect_job(job_id=job.id, namespace=self._org)
        return "" if stage == "COMPLETED" else f"The Job {job.id} ended as {stage}."


def model_of(repo: str) -> list[str]:
    """Return the options of `permix sweep` for a base or an adapter; raise Refused if it cannot be measured."""
    info = _public(repo)
    if CONFIG not in sizes_of(info):
        _refuse_large(info)
        return ["--base", repo]
    base = config_of(repo, info.sha).get("base_model_name_or_path")
    if not isinstance(base, str):
        raise Refused(f"The {CONFIG} of {repo} does not name a base: save the adapter again with peft.")
    _refuse_large(_public(base), info)
    return ["--base", base, "--adapter", repo]


def offer(source: Source, repo: str) -> str:
    """Offer the results of the newest sweep of `repo` to its card; return the address of the pull request."""
    check_name(repo)
    sweeps = [artifact for artifact in source.board(anew=True).of(SWEEP) if measured(artifact) == repo]
    if not sweeps:
        raise Refused(f"{source.org} has not published a sweep of {repo}: measure it first.")
    sweep = max(sweeps, key=lambda artifact: artifact.published)
    pulls = HfApi().get_repo_discussions(repo, discussion_type="pull_request", discussion_status="open")
    if old := next((pull for pull in pulls if pull.title == TITLE), None):
        raise Refused(f"The results are already offered: {old.url}")
    rows = [row for row in source.board().sweeps if row["repo"] == sweep.repo]
    index = [{"name": repo.partition("/")[2], "results": [_result(row, sweep, source.org) for row in rows]}]
    text = f"The accuracy of this model under the personas of permix, measured in {sweep.url}."
    commit: Any = metadata_update(
        repo, {"model-index": index}, overwrite=True, create_pr=True, commit_message=TITLE, commit_description=text
    )
    return str(commit.pr_url)


def measured(sweep: Artifact) -> str:
    """Return the repository that a sweep measured, "" if its record does not name it."""
    try:
        config = sweep.json("run.json")["config"]
        return str(config.get("adapter") or config["base"])
    except (*UNREADABLE, *ABSENT):
        return ""


def tab(source: Source, tasks: Queue) -> None:
    """Build the tab."""

    def measure(repo: str) -> tuple[str, list[list[str]]]:
        return _announced(lambda: (tasks.add(repo.strip()), "")), tasks.rows()

    def propose(repo: str) -> str:
        return _announced(lambda: ("The pull request for its owner:", offer(source, repo.strip())))

    with gr.Tab("Measure my model"):
        gr.Markdown(
            "A small sweep of a public model or LoRA adapter. It has few problems, so the intervals are wide. Its "
            "answers are published. You can then offer the results to the model's card as a pull request."
        )
        repo = gr.Textbox(label="repository", info="org/name of a model or adapter with safetensors")
        with gr.Row():
            start = gr.Button("Measure", variant="primary")
            give = gr.Button("Offer the results to its card")
        message = gr.HTML(shown.announced(""))
        names = ["repository", "state", "problem"]
        table = gr.Dataframe(tasks.rows, every=5, headers=names, datatype="str", label="requested", interactive=False)
    quiet: dict[str, Any] = {"concurrency_limit": 2, "concurrency_id": "measure", "show_progress": "minimal"}
    start.click(measure, repo, [message, table], api_name="measure", **quiet)
    give.click(propose, repo, message, api_name="offer", **quiet)


def _announced(action: Callable[[], tuple[str, str]]) -> str:
    """Run `action` and return its sentence and address for the page, or the reason of its failure."""
    try:
        return shown.announced(*action())
    except Refused as refused:
        return shown.announced(str(refused))
    except (*ABSENT, *UNREADABLE) as error:
        return shown.announced(f"The Hub refused it ({type(error).__name__}).")


def _public(repo: str) -> ModelInfo:
    info = information(repo, HfApi())
    if info.private or info.gated:
        raise Refused(f"{repo} is private or gated: only public models are measured.")
    return info


def _refuse_large(*infos: ModelInfo) -> None:
    """Raise Refused for weights that are not safetensors, and for more than MOST_BYTES or MOST_FILES together."""
    sizes = [
        sum(file.size or 0 for file in info.siblings or [] if file.rfilename.endswith(".safetensors")) for info in infos
    ]
    if bare := next((info.id for info, size in zip(infos, sizes, strict=True) if not size), None):
        raise Refused(f"{bare} does not have safetensors: other weights are not loaded.")
    if (whole := sum(file.size or 0 for info in infos for file in info.siblings or [])) > MOST_FILES:
        raise Refused(f"{infos[0].id} has {whole / 1e9:.1f} GB of files: the limit is {MOST_FILES / 1e9:g} GB.")
    if sum(sizes) > MOST_BYTES:
        raise Refused(f"{infos[0].id} has {sum(sizes) / 1e9:.1f} GB of weights: the limit is {MOST_BYTES / 1e9:g} GB.")


def _result(row: dict[str, Any], sweep: Artifact, org: str) -> dict[str, Any]:
    """The numbers of one benchmark as an entry of a model-index."""
    values = {name: row[name] for name in METRICS if row[name] is not None}
    dataset = {"type": sweep.repo, "name": f"{row['benchmark']} under the evaluation personas"}
    dataset |= {"config": row["benchmark"], "split": "test", "revision": sweep.sha}
    kinds = {"pss": f"{org}/pss"}
    metrics = [{"type": kinds.get(name, "accuracy"), "name": METRICS[name], "value": v} for name, v in values.items()]
    return {"task": {"type": "text-generation"}, "dataset": dataset, "metrics": metrics}
