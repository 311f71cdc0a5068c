"""The workflow `evaluate`, step by step: from the event of a webhook to the results on the adapter's card."""

import functools
import json
import os
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from embedded_hub import launch
from permix.automation.ci import card, evaluation, github
from permix.automation.ci.evaluation import EvaluationRequest
from permix.commands import ci
from permix.errors import BadInput, PermixError
from permix.publishing.hub import Artifact
from tests.support import workflows
from tests.support.cases import cases
from tests.support.forge import ADAPTER, SWEEP, Forge
from tests.support.kills import kill_job
from tests.support.servers import answering, error
from tests.support.waiting import wait_until


def pushed(adapter: Any = ADAPTER, **more: Any) -> dict[str, Any]:
    """The event of a repository_dispatch."""
    return {"action": "hub-model-updated", "client_payload": {"adapter": adapter, **more}}


def test_a_push_is_evaluated_and_shown_where_people_look(forge: Forge, evaluated: workflows.Ran) -> None:
    sweep = forge.artifact(SWEEP)
    assert sweep.intact
    adapter = sweep.record["inputs"]["adapter"]
    assert (adapter["repo"], adapter["revision"]) == (ADAPTER, forge.state(ADAPTER).sha)
    summary = sweep.record["facts"]["summary"]["benchmarks"]["arithmetic"]
    assert summary["problems"] == 2
    assert f"::notice title={ADAPTER}@{adapter['revision']} on arithmetic::PSS " in evaluated.messages
    worst, best = summary["pss"]["worst"], summary["pss"]["best"]
    assert f"| arithmetic | 2 | 2 | {worst:.3f} | {best:.3f} |" in evaluated.messages
    bars = re.findall(r"^\| ([█░]{20}) \| (\S+) \| ([^|]+) \|$", evaluated.messages, re.MULTILINE)
    assert {name: f"{value:.3f}" for name, value in summary["accuracy"].items()} == {key: v for _, v, key in bars}
    assert f"{forge.hub.endpoint}/{SWEEP}/tree/{sweep.sha}" in evaluated.messages
    assert evaluated.used[0].startswith("actions/checkout@")
    assert forge.bot not in evaluated.log


def test_the_results_are_proposed_where_the_token_may_not_write(forge: Forge, evaluated: workflows.Ran) -> None:
    sweep = forge.artifact(SWEEP)
    (proposed,) = forge.hub.api.get_repo_discussions(ADAPTER)
    assert (proposed.author, proposed.is_pull_request, proposed.status) == ("bot", True, "open")
    assert proposed.title == f"Accuracy under system personas: {SWEEP}@{sweep.sha[:12]}"
    assert f"The results are proposed to {ADAPTER}: {forge.hub.endpoint}/{ADAPTER}/discussions/1" in evaluated.messages
    before = forge.state(ADAPTER)
    again = forge.run("evaluate", "request", pushed())
    assert again.outputs["requests"] == "[]"
    assert "Nothing new: its weights were evaluated already." in again.messages
    forge.hub.api.merge_pull_request(ADAPTER, proposed.num)
    after = forge.state(ADAPTER)
    assert after.sha != before.sha
    assert after.content_digest == before.content_digest
    loop = forge.run("evaluate", "request", pushed(revision=after.sha))
    assert loop.outputs["requests"] == "[]", "a commit of a card alone starts nothing"
    skipped = forge.run("evaluate", "evaluate", needs={"request": {"outputs": loop.outputs}})
    assert skipped.log == ""
    assert not skipped.used


def test_a_card_that_may_be_written_gets_a_commit_and_keeps_its_text(forge: Forge, evaluated: workflows.Ran) -> None:
    sweep, twin = forge.artifact(SWEEP), "me/twin"
    forge.hub.publish(twin, forge.adapter, "the same weights", None)
    assert card.write(forge.hub, twin, sweep) == f"{twin} shows the results."
    assert card.write(forge.hub, twin, sweep) == f"{twin} shows these results already."
    page = ModelCard(forge.hub.download(f"{twin}@{forge.state(twin).sha}", "README.md").read_text())
    assert page.data.license == "mit"
    assert page.text.strip().startswith("# Mine")
    assert page.text.count("## Under system personas") == 1
    results = {measured.metric_name: measured.dataset_type for measured in page.data.eval_results or []}
    assert results["accuracy, worst persona"] == SWEEP.removeprefix("datasets/")
    other = forge.state(twin)
    others = {**sweep.record, "inputs": {"adapter": {"content_digest": "0"}}}
    changed = Artifact(sweep.repo, sweep.sha, sweep.files, others)
    assert "holds other weights by now" in card.write(forge.hub, twin, changed)
    assert forge.state(twin).sha == other.sha


def test_a_sweep_that_fails_says_why_and_publishes_nothing(forge: Forge) -> None:
    """Here the base was deleted after the request was checked."""
    fields = {"adapter": ADAPTER, "revision": forge.state(ADAPTER).sha, "base": "me/gone", "runner": "self-hosted"}
    request = EvaluationRequest(**fields, benchmarks=("arithmetic",))
    needs = {"request": {"outputs": {"requests": f"[{request.as_json}]"}}}
    done = forge.run("evaluate", "evaluate", matrix={"request": json.loads(request.as_json)}, needs=needs)
    assert done.ended == 2, done.log
    assert f"**Sweep of {ADAPTER}**: me/gone is needed by stage sweep and is not on http" in done.messages
    assert f"::error title=Sweep of {ADAPTER}::me/gone is needed" in done.messages
    assert "shows the results" not in done.log, "no step after it ran"
    assert forge.hub.state("datasets/results/permix-sweep-gone-tiny-lora-me") is None


def test_a_job_that_dies_runs_out_of_time_or_of_budget_is_one_sentence_and_can_be_asked_for_again(forge: Forge) -> None:
    launch.allow_jobs(Path(os.environ["PERMIX_HOME"]) / "hub")
    unlucky, sweep = "me/unlucky", "datasets/results/permix-sweep-tiny-unlucky-me"
    forge.hub.publish(unlucky, forge.adapter, "made", None)
    variables = forge.variables | {"PERMIX_RUNNER": "job", "PERMIX_FLAVOR": "cpu-basic"}
    checked = forge.run("evaluate", "request", pushed(unlucky), variables=variables)
    (request,) = json.loads(checked.outputs["requests"])
    needs = {"request": {"outputs": checked.outputs}}

    def kill_the_next() -> None:
        running = functools.partial(forge.hub.api.list_jobs, namespace="results", status="RUNNING")
        kill_job(wait_until(lambda: list(running()))[0].id)

    def ended(**decided: str) -> str:
        """What the pages of GitHub say of an evaluation in a Job; nothing of it is published."""
        matrix = {"request": request | decided}
        done = forge.run("evaluate", "evaluate", matrix=matrix, needs=needs, variables=variables)
        assert done.ended in (1, 2), done.log
        assert "shows the results" not in done.log, done.log
        assert forge.hub.state(sweep) is None
        assert not list(forge.hub.api.get_repo_discussions(unlucky))
        sentence, annotation = filter(None, done.messages.splitlines())
        assert annotation.startswith(f"::error title=Sweep of {unlucky}::")
        return sentence.removeprefix(f"**Sweep of {unlucky}**: ")

    dear = "1 Job on cpu-basic for at most 5h may cost 0.05 USD, --max-cost is 0.01: lower --timeout to 60m, or"
    assert ended(max_cost="0.01").startswith(dear)
    assert ended(timeout="1s").endswith("ended with ERROR: Job timeout: it ran longer than 1 s")
    with ThreadPoolExecutor() as beside:
        killing = beside.submit(kill_the_next)
        assert ended().endswith("ended with ERROR: It was killed from outside: its process ended without a result")
        killing.result()


@pytest.fixture
def refused(forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs the step `request`, which must refuse: returns the job summary; nothing is to be evaluated."""

    def refuse(event: Any, *, token: str = forge.bot, hub: str = forge.hub.endpoint, **more: str) -> str:
        files = {name: tmp_path / name for name in ("GITHUB_EVENT_PATH", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for path in files.values():
            path.unlink(missing_ok=True)
        files["GITHUB_EVENT_PATH"].write_text(event if isinstance(event, str) else json.dumps(event))
        where = {"HF_TOKEN": token, "HF_HOME": "", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_ENDPOINT": hub}
        for name, value in (forge.variables | where | {k: str(v) for k, v in files.items()} | more).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PERMIX_HOME", str(tmp_path / "home"))
        with pytest.raises(PermixError):
            ci.request(hub_url=hub)
        assert re.fullmatch(r"requests<<(\w+)\n\[\]\n\1\n", files["GITHUB_OUTPUT"].read_text())
        assert token not in files["GITHUB_STEP_SUMMARY"].read_text()
        return re.sub(r"\\(.)", r"\1", files["GITHUB_STEP_SUMMARY"].read_text())

    return refuse


@pytest.mark.parametrize(("event", "sentence"), cases(__file__)["refusals"])
def test_a_bad_request_is_one_sentence(
    refused: Callable[..., str], capsys: pytest.CaptureFixture[str], event: Any, sentence: str
) -> None:
    summary = refused(event)
    assert sentence in summary
    assert len(summary.strip().splitlines()) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("::")] == lines, "nothing of it is a command of its own"
    assert len(lines) == 1
    assert lines[0].startswith("::error title=")


def test_an_absent_base_is_one_sentence(forge: Forge, refused: Callable[..., str], tmp_path: Path) -> None:
    shutil.copytree(forge.adapter, tmp_path / "lora")
    path = tmp_path / "lora" / "adapter_config.json"
    saved = json.loads(path.read_text())
    for name, text, sentence in (
        ("none", json.dumps(saved | {"base_model_name_or_path": None}), "names the base '': base_model_name_or_path"),
        ("local", json.dumps(saved | {"base_model_name_or_path": "/home/me/base"}), "names the base '/home/me/base'"),
        ("gone", json.dumps(saved | {"base_model_name_or_path": "me/gone"}), "The base me/gone of me/lora-gone is not"),
        ("text", '"a text"', "adapter_config.json of me/lora-text is not a JSON table"),
    ):
        path.write_text(text)
        forge.hub.publish(f"me/lora-{name}", tmp_path / "lora", "made", None)
        assert sentence in refused(pushed(f"me/lora-{name}"))
    gated = 403, "", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model meta/llama is restricted"}
    with answering(lambda path: gated) as (url, _), pytest.raises(PermixError, match="It is gated: accept its terms"):
        evaluation.complete(EvaluationRequest(adapter=ADAPTER), forge.hub.__class__(url, "t", tmp_path, embedded=False))


def test_a_token_that_is_expired_missing_or_anothers_is_one_sentence(refused: Callable[..., str]) -> None:
    assert "The token is not valid there: log in again or set HF_TOKEN." in refused(pushed(), token="hf_expired")
    assert "bot may not write to 'others' on http" in refused(pushed(), PERMIX_ORG="others")
    assert "PERMIX_ORG is not set" in refused(pushed(), PERMIX_ORG="")
    with answering(lambda _: error(500, "out of order")) as (url, _):
        assert "The Hub answered 500: out of order." in refused(pushed(), hub=url)


def test_of_several_watched_adapters_a_bad_one_stops_no_other(forge: Forge) -> None:
    watched = forge.variables | {"PERMIX_ADAPTERS": f"no/such, {ADAPTER}", "PERMIX_LIMIT": "1"}
    checked = forge.run("evaluate", "request", {"schedule": "17 4 * * 1"}, variables=watched)
    assert checked.ended == 2
    assert "**no/such**: There is no adapter no/such" in checked.messages
    (request,) = json.loads(checked.outputs["requests"])
    assert (request["adapter"], request["limit"], request["labels"]) == (ADAPTER, 1, ["self-hosted", "linux", "gpu"])


def test_a_webhook_decides_nothing_that_costs_money(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PERMIX_")]:
        monkeypatch.delenv(name)
    (request,) = evaluation.of_event(pushed(flavor="h200", limit="0", benchmarks="math500", runner="self-hosted"))
    assert request == EvaluationRequest(adapter=ADAPTER)
    monkeypatch.setenv("PERMIX_FLAVOR", "t4-small")
    monkeypatch.setenv("PERMIX_ORG", "results")
    (request,) = evaluation.of_event({"inputs": {"adapter": "1/x", "benchmarks": "gsm8k math500,gsm8k", "limit": "7"}})
    assert (request.benchmarks, request.limit, request.flavor) == (("gsm8k", "math500"), 7, "t4-small")
    job = ["--on", "jobs", "--flavor", "t4-small", "--max-cost", "10", "--timeout", "5h"]
    assert request.arguments[-8:] == job
    assert 'sweep.label="1"' in request.arguments
    assert EvaluationRequest.of_json(request.as_json) == request


def test_what_fails_without_a_word_still_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="ended with code 2 and gave no reason"):
        github.permix("no-such-command")
