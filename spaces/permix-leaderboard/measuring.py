"""Measure my model: a capped sweep of a repository that a visitor names, and the result as an offer to its owner.

The sweep is `permix sweep`, in a process here (LOCAL, one at a time) or as a Job of the Hub, in an image that has
permix and at the organisation's cost. It is published like every other sweep, so this page needs no memory of its own.
"""

import json
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
from huggingface_hub import HfApi, ModelInfo, get_token, hf_hub_download, metadata_update
from huggingface_hub.errors import RepositoryNotFoundError

LOCAL = "local"
MOST_WAITING, KEPT = 8, 50  # tasks; of those that have ended the last ones are shown
MOST_BYTES = 4_000_000_000  # of a model's weights, its base's among them
MOST_FILES = 20_000_000_000  # bytes of all that lies beside them, which is downloaded too
CONFIG, MOST_CONFIG = "adapter_config.json", 1_000_000  # bytes
SECONDS = 3 * 3600.0  # until a sweep is given up
JOBS, POLL = 4, 2.0  # side by side, and seconds between two looks at one
TITLE = "Persona robustness: results of a permix sweep"
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
SECRET = re.compile("(KEY|TOKEN|SECRET|PASSWORD)S?$", re.IGNORECASE)
METRICS = {  # the names that permix gives them on its own cards
    "worst": "accuracy, worst persona",
    "best": "accuracy, best persona",
    "mean": "accuracy, mean over personas",
    "pss": "PSS: worst / best persona",
    "none": "accuracy without a persona",
}


class Refused(Exception):
    """What a visitor asked for cannot be done; the text is a sentence for the page."""


@dataclass
class Task:
    """One sweep that was asked for; `state` is one of waiting, running, measured, failed."""

    repo: str
    model: list[str]  # --base and --adapter
    state: str = "waiting"
    said: str = ""

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("waiting", "running")


class Queue:
    """The sweeps that were asked for since the page was started; `how` is LOCAL or the image of a Job."""

    def __init__(self, org: str, how: str, recipe: str, flavor: str) -> None:
        self._org, self._image, self._recipe, self._flavor = org, how, recipe, flavor
        self._tasks: dict[str, Task] = {}
        self._waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._lock = threading.Lock()
        run = self._here if how == LOCAL else self._as_job
        for _ in range(1 if how == LOCAL else JOBS):
            threading.Thread(target=self._work, args=(run,), daemon=True).start()

    def add(self, repo: str) -> str:
        """Queue a sweep of the repository; a sentence for its owner. Refused where it cannot be measured here."""
        task = Task(repo, model_of(repo))
        with self._lock:
            if (old := self._tasks.get(repo)) and old.open:
                raise Refused(f"{repo} is {old.state} already.")
            if sum(one.open for one in self._tasks.values()) >= MOST_WAITING:
                raise Refused(f"{MOST_WAITING} models are waiting already: come back later.")
            for ended in [name for name, one in self._tasks.items() if not one.open][: -KEPT or None]:
                del self._tasks[ended]
            self._tasks[repo] = task
        self._waiting.put(task)
        return f"{repo} is waiting to be measured. Its sweep will be in the table; it goes on without this page."

    def rows(self) -> list[list[str]]:
        """Repository, state and what there is to say, the last asked for first."""
        with self._lock:
            return [[task.repo, task.state, task.said] for task in reversed(self._tasks.values())]

    def _work(self, run: Callable[[Task], str]) -> None:
        while True:
            task = self._waiting.get()
            task.state = "running"
            try:
                task.said = run(task)
            except Exception as error:  # the queue goes on, whatever the Hub or the machine did
                task.said = f"It could not be started ({type(error).__name__})."
            task.state = "failed" if task.said else "measured"

    def _command(self, task: Task) -> list[str]:
        owner = task.repo.partition("/")[0]  # in the name of the sweep: two owners may have models of one name
        settings = ["--set", f"org={self._org}", "--set", f"tag={owner}", "--hub", HfApi().endpoint]
        return ["sweep", "--recipe", self._recipe, *task.model, *settings]

    def _here(self, task: Task) -> str:
        """Run the sweep; "" once it is published, else why it is not."""
        kept = {name: value for name, value in os.environ.items() if not SECRET.search(name)}
        work = Path(tempfile.gettempdir()) / f"permix-measure-{self._org}"  # asked again it goes on from there
        command = [sys.executable, "-m", "permix", *self._command(task), "--work", str(work)]
        environment = kept | {"HF_TOKEN": get_token() or ""}
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return f"It took more than {SECONDS / 3600:g} hours."
        last = done.stderr.strip().rpartition("\n")[2]
        return "" if done.returncode == 0 else last.partition(" (log:")[0][:300] or "permix ended without a word."

    def _as_job(self, task: Task) -> str:
        """The same as a Job of the organisation."""
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
    """How permix is told to measure it: its own name, or that of its base with it as the adapter. Refused otherwise."""
    info = _info(repo)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    if CONFIG not in sizes:
        _weigh(info)
        return ["--base", repo]
    if sizes[CONFIG] > MOST_CONFIG:
        raise Refused(f"The {CONFIG} of {repo} is larger than any that peft writes: save the adapter again with it.")
    try:
        config = json.loads(Path(hf_hub_download(repo, CONFIG, revision=info.sha)).read_text("utf-8"))
        base = str(config["base_model_name_or_path"])
    except (*UNREADABLE, *ABSENT):
        raise Refused(f"The {CONFIG} of {repo} names no base: save the adapter again with peft.") from None
    _weigh(_info(base), info)
    return ["--base", base, "--adapter", repo]


def offer(source: Source, repo: str) -> str:
    """Offer the results of the newest sweep of `repo` to its card, as a pull request; its address."""
    api = HfApi()
    if not NAME.fullmatch(repo):
        raise Refused(f"{repo[:100]!r} is no name of a repository: write org/name.")
    made = [a for a in source.board(anew=True).of(SWEEP) if measured(a) == repo]
    if not made:
        raise Refused(f"No sweep of {repo} is published by {source.org}: measure it first.")
    sweep = max(made, key=lambda artifact: artifact.published)
    asked = api.get_repo_discussions(repo, discussion_type="pull_request", discussion_status="open")
    if old := next((one for one in asked if one.title == TITLE), None):
        raise Refused(f"It has been offered already: {old.url}")
    rows = [row for row in source.board().sweeps if row["repo"] == sweep.repo]
    index = [{"name": repo.partition("/")[2], "results": [_result(row, sweep, source.org) for row in rows]}]
    why = f"The accuracy of this model under the personas of permix, as measured in {sweep.url}."
    found: Any = metadata_update(
        repo, {"model-index": index}, overwrite=True, create_pr=True, commit_message=TITLE, commit_description=why
    )
    return str(found.pr_url)


def measured(sweep: Artifact) -> str:
    """The repository that a sweep measured, "" where its record does not tell."""
    try:
        config = sweep.json("run.json")["config"]
        return str(config.get("adapter") or config["base"])
    except (*UNREADABLE, *ABSENT):
        return ""


def tab(source: Source, tasks: Queue) -> None:
    """The tab's controls and what they do."""

    def ask(repo: str) -> tuple[str, list[list[str]]]:
        return _said(lambda: (tasks.add(repo.strip()), "")), tasks.rows()

    def propose(repo: str) -> str:
        return _said(lambda: ("Its owner finds the pull request here:", offer(source, repo.strip())))

    with gr.Tab("Measure my model"):
        gr.Markdown(
            "A small sweep of a model or LoRA adapter that everybody may read: few problems, so the intervals are "
            "wide. Its answers are published. The results can then be offered to the model's card as a pull request."
        )
        repo = gr.Textbox(label="repository", info="org/name of a model or of an adapter, with safetensors")
        with gr.Row():
            start = gr.Button("Measure", variant="primary")
            give = gr.Button("Offer the results to its card")
        said = gr.HTML(shown.announced(""))
        names = ["repository", "state", "why"]
        table = gr.Dataframe(tasks.rows, every=5, headers=names, datatype="str", label="asked for", interactive=False)
    quiet: dict[str, Any] = {"concurrency_limit": 2, "concurrency_id": "measure", "show_progress": "minimal"}
    start.click(ask, repo, [said, table], api_name="measure", **quiet)
    give.click(propose, repo, said, api_name="offer", **quiet)


def _said(do: Callable[[], tuple[str, str]]) -> str:
    """What the page says: that it was done and where it is, or why not."""
    try:
        return shown.announced(*do())
    except Refused as refused:
        return shown.announced(str(refused))
    except (*ABSENT, *UNREADABLE) as error:
        return shown.announced(f"It could not be done ({type(error).__name__}): the Hub did not take it.")


def _info(repo: str) -> ModelInfo:
    if not NAME.fullmatch(repo):
        raise Refused(f"{repo[:100]!r} is no name of a repository: write org/name.")
    try:
        info = HfApi().model_info(repo, files_metadata=True, timeout=15)
    except RepositoryNotFoundError:
        raise Refused(f"There is no model {repo} on the Hub, or it is private: check the name.") from None
    if info.private or info.gated:
        raise Refused(f"{repo} is private or gated: only what everybody may read is measured here.")
    return info


def _weigh(*infos: ModelInfo) -> None:
    """Refuse weights that are not safetensors, and those of more than MOST_BYTES together."""
    sizes = [
        sum(file.size or 0 for file in info.siblings or [] if file.rfilename.endswith(".safetensors")) for info in infos
    ]
    if bare := next((info.id for info, size in zip(infos, sizes, strict=True) if not size), None):
        raise Refused(f"{bare} has no safetensors: other weights are not loaded here.")
    if (whole := sum(file.size or 0 for info in infos for file in info.siblings or [])) > MOST_FILES:
        raise Refused(f"{infos[0].id} has {whole / 1e9:.1f} GB of files: up to {MOST_FILES / 1e9:g} GB are read here.")
    if sum(sizes) > MOST_BYTES:
        raise Refused(f"{infos[0].id} has {sum(sizes) / 1e9:.1f} GB: up to {MOST_BYTES / 1e9:g} GB are measured here.")


def _result(row: dict[str, Any], sweep: Artifact, org: str) -> dict[str, Any]:
    """One benchmark's numbers as an entry of a model-index."""
    values = {name: row[name] for name in METRICS if row[name] is not None}
    dataset = {"type": sweep.repo, "name": f"{row['benchmark']} under the evaluation personas"}
    dataset |= {"config": row["benchmark"], "split": "test", "revision": sweep.sha}
    kinds = {"pss": f"{org}/pss"}
    metrics = [{"type": kinds.get(name, "accuracy"), "name": METRICS[name], "value": v} for name, v in values.items()]
    return {"task": {"type": "text-generation"}, "dataset": dataset, "metrics": metrics}
