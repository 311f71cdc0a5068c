"""Evaluation requests: read from the event of a GitHub workflow, checked, and completed from the Hub.

`workflow_dispatch` may set every field. `repository_dispatch` comes from a webhook and sets adapter and revision only,
because the repository's variables decide the cost. `schedule` evaluates the adapters of PERMIX_ADAPTERS.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from permix import benchmarks
from permix.automation.ci import card
from permix.automation.jobs import price
from permix.errors import BadInput
from permix.pipeline.ad_hoc import Target
from permix.pipeline.plan import Plan, RunRequest, Step
from permix.publishing.hub import Hub, RepositoryState

RUNNERS = {"job": ("ubuntu-latest",), "self-hosted": ("self-hosted", "linux", "gpu")}
"""The places where a sweep may run, each with the labels of the machine that runs the workflow."""
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LONGEST = "5h"  # GitHub ends a job of its own machines after six
_FORMS = {
    "adapter": (_REPOSITORY, "the adapter's name on the Hub, org/name"),
    "revision": (_COMMIT, "a commit, 40 digits of 0-9 and a-f"),
    "flavor": (re.compile(r"[a-z0-9][a-z0-9-]{0,40}"), "the name of a machine, for example a10g-small"),
    "max_cost": (re.compile(r"[0-9]{1,5}(\.[0-9]{1,2})?"), "USD, for example 2.50"),
    "timeout": (re.compile(r"[0-9]{1,5}[smh]"), f"a duration of at most {_LONGEST}, for example 90m"),
    "runner": (re.compile("|".join(RUNNERS)), " or ".join(RUNNERS)),
    "limit": (re.compile(r"[0-9]{1,6}"), "a number of problems, 0 (all) to 100000"),
}
"""The form of each text of a request, as a pattern and in words."""
_VARIABLES = ("benchmarks", "limit", "flavor", "max_cost", "timeout", "runner")
"""Fields that the variables PERMIX_<FIELD> of the repository set."""


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """One adapter to evaluate. `base` and `revision` are "" until `complete` reads them from the Hub.

    `limit` 0 means whole benchmarks; `flavor`, `max_cost` (USD) and `timeout` are for the runner `job`.
    """

    adapter: str
    revision: str = ""
    base: str = ""
    benchmarks: tuple[str, ...] = ("gsm8k",)
    limit: int = 20
    flavor: str = "a10g-small"
    max_cost: str = "10"
    timeout: str = _LONGEST
    runner: str = "job"

    @classmethod
    def of_json(cls, text: str) -> Self:
        """Return the request that `as_json` wrote."""
        fields = json.loads(text)
        del fields["labels"]
        return cls(**fields | {"benchmarks": tuple(fields["benchmarks"])})

    @property
    def as_json(self) -> str:
        """The request as JSON, with the labels of the machine that the workflow should ask for."""
        return json.dumps(asdict(self) | {"labels": RUNNERS[self.runner]})

    @property
    def overrides(self) -> list[str]:
        """The changes of the recipe; the owner's name as the sweep's label tells adapters of one name apart."""
        org = os.environ.get("PERMIX_ORG", "")
        if not org:
            raise BadInput("PERMIX_ORG is not set: it should name the organisation of the Hub that sweeps are for.")
        owner = self.adapter.partition("/")[0]
        texts = {"org": org, "sweep.label": owner, "benchmarks": self.benchmarks, "sweep.limit": self.limit}
        return [f"{key}={json.dumps(value)}" for key, value in texts.items()]

    @property
    def arguments(self) -> list[str]:
        """The arguments of `permix sweep`."""
        job = ["--on", "jobs", "--flavor", self.flavor, "--max-cost", self.max_cost, "--timeout", self.timeout]
        changes = [word for change in self.overrides for word in ("--set", change)]
        target = ["--base", self.base, "--adapter", f"{self.adapter}@{self.revision}"]
        return [*target, *changes, *(job if self.runner == "job" else [])]


def of_event(event: Mapping[str, Any]) -> list[EvaluationRequest]:
    """Return the requests of a workflow's event; BadInput where it is malformed."""
    variables = {key: os.environ.get(f"PERMIX_{key.upper()}") for key in _VARIABLES}
    defaults = {key: value for key, value in variables.items() if value}
    if "client_payload" in event:
        payload = _table(event["client_payload"], "client_payload")
        return [of_texts(defaults | {key: payload[key] for key in ("adapter", "revision") if key in payload})]
    if "inputs" in event:
        inputs = {key: value for key, value in _table(event["inputs"] or {}, "inputs").items() if value != ""}
        return [of_texts(defaults | inputs)]
    watched = os.environ.get("PERMIX_ADAPTERS", "").replace(",", " ").split()
    return [of_texts(defaults | {"adapter": adapter}) for adapter in watched]


def of_texts(fields: Mapping[str, Any]) -> EvaluationRequest:
    """Return the request with these fields, whose origin is not trusted; BadInput where one is malformed."""
    known = [name for name in EvaluationRequest.__dataclass_fields__ if name != "base"]
    if unknown := sorted(set(fields) - set(known)):
        raise BadInput(f"The request has an unknown key {unknown[0]!r}: known: {', '.join(known)}.")
    for key, text in ({"adapter": ""} | dict(fields)).items():
        if not isinstance(text, str):
            raise BadInput(f"{key} of the request is {text!r}: it should be a text.")
        if key in _FORMS and not _FORMS[key][0].fullmatch(text):
            raise BadInput(f"{key} of the request is {text[:200]!r}: it should be {_FORMS[key][1]}.")
    if price.seconds(fields.get("timeout", _LONGEST)) > price.seconds(_LONGEST):
        raise BadInput(f"timeout of the request is {fields['timeout']!r}: it should be at most {_LONGEST}.")
    checked = dict(fields)
    if names := tuple(dict.fromkeys(checked.pop("benchmarks", "").replace(",", " ").split())):
        for name in names:
            benchmarks.builtin(name)
        checked["benchmarks"] = names
    if "limit" in checked:
        checked["limit"] = int(checked["limit"])
    return EvaluationRequest(**checked)


def _table(value: Any, name: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise BadInput(f"{name} of the event is {str(value)[:200]!r}: it should be a table of texts.")


def complete(request: EvaluationRequest, hub: Hub) -> tuple[EvaluationRequest, str]:
    """Return the request with commit and base, and why no sweep is due (else ""); BadInput or PermixError."""
    adapter = hub.state(f"{request.adapter}@{request.revision}" if request.revision else request.adapter)
    if adapter is None:
        raise BadInput(
            f"There is no adapter {request.adapter} on {hub.endpoint} that the token may see: check its name."
        )
    completed = replace(request, revision=adapter.sha, base=_base(adapter, hub))
    if hub.state(completed.base) is None:
        raise BadInput(
            f"The base {completed.base} of {completed.adapter} is not on {hub.endpoint}, or the token may not see it: "
            "publish it, or correct base_model_name_or_path."
        )
    hub.check_read(completed.base.partition("@")[0])
    sweep = planned_sweep(completed, hub)
    evaluated = sweep.state == "current" and card.shows(hub, completed.adapter, sweep.artifact)
    return completed, "its weights were evaluated already" if evaluated else ""


def planned_sweep(request: EvaluationRequest, hub: Hub) -> Step:
    """Return the step that makes the sweep of a completed request, compared with the Hub."""
    target = Target(base=request.base, adapter=f"{request.adapter}@{request.revision}")
    recipe = target.recipe(os.environ.get("PERMIX_RECIPE", ""))
    plan = Plan.of(RunRequest(recipe, (*request.overrides, *target.overrides()), until="sweep"))
    plan.look_up(hub)
    return plan.steps[-1]


def _base(adapter: RepositoryState, hub: Hub) -> str:
    if "adapter_config.json" not in adapter.files:
        raise BadInput(f"{adapter.repo} has no adapter_config.json: it should be a LoRA adapter as peft saves it.")
    try:
        config = json.loads(hub.download(f"{adapter.repo}@{adapter.sha}", "adapter_config.json").read_bytes())
        name, revision = config.get("base_model_name_or_path") or "", config.get("revision") or ""
    except (ValueError, AttributeError):
        raise BadInput(f"adapter_config.json of {adapter.repo} is not a JSON table: save it with peft.") from None
    if not isinstance(name, str) or not _REPOSITORY.fullmatch(name):
        raise BadInput(
            f"adapter_config.json of {adapter.repo} names the base {str(name)[:200]!r}: "
            "base_model_name_or_path should be a model of the Hub, org/name."
        )
    pinned = isinstance(revision, str) and _COMMIT.fullmatch(revision)
    return f"{name}@{revision}" if pinned else name
