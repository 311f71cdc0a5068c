"""What a workflow is asked to evaluate: read from its event, checked, and looked up on the Hub.

A person may say everything (workflow_dispatch); a webhook names adapter and revision alone (repository_dispatch), for
what costs money is the repository's to decide; the clock brings the adapters of PERMIX_ADAPTERS (schedule).
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from permix import benchmarks
from permix.automation.ci import card
from permix.automation.jobs import price
from permix.errors import BadInput
from permix.pipeline.ad_hoc import Target
from permix.pipeline.plan import Plan, RunRequest

if TYPE_CHECKING:
    from permix.pipeline.plan import Step
    from permix.publishing.hub import Hub, RepositoryState

RUNNERS = {"job": ("ubuntu-latest",), "self-hosted": ("self-hosted", "linux", "gpu")}
"""Where a sweep runs, and the labels of the machine that GitHub gives to its workflow."""
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FLAVOR = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
_USD = re.compile(r"[0-9]{1,5}(\.[0-9]{1,2})?")
_DURATION = re.compile(r"[0-9]{1,5}[smh]")
_DECIDED = ("benchmarks", "limit", "flavor", "max_cost", "timeout", "runner")
_MOST = 100_000
_LONGEST = "5h"  # GitHub ends a job of its own machines after six


@dataclass(frozen=True, kw_only=True)
class Request:
    """One evaluation. `base` and `revision` are "" until the Hub was asked; `limit` 0 means whole benchmarks.

    `flavor`, `max_cost` (USD) and `timeout` are for the runner `job`.
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

    @property
    def settings(self) -> list[str]:
        """Changes of the recipe. The owner's name in the sweep's keeps equally named adapters apart."""
        org, names = os.environ.get("PERMIX_ORG", ""), json.dumps(self.benchmarks)
        if not org:
            raise BadInput("PERMIX_ORG is not set: it should name the organisation of the Hub that sweeps are for.")
        label = self.adapter.partition("/")[0]
        named = [f"org={json.dumps(org)}", f"sweep.label={json.dumps(label)}"]
        return [*named, f"benchmarks={names}", f"sweep.limit={self.limit}"]

    @property
    def options(self) -> list[str]:
        """The options of `permix sweep` that make it."""
        job = ["--on", "jobs", "--flavor", self.flavor, "--max-cost", self.max_cost, "--timeout", self.timeout]
        where = job if self.runner == "job" else []
        settings = [word for change in self.settings for word in ("--set", change)]
        return ["--base", self.base, "--adapter", f"{self.adapter}@{self.revision}", *settings, *where]

    def text(self) -> str:
        """As JSON, with the labels of the machine that the workflow should ask for."""
        return json.dumps(asdict(self) | {"labels": RUNNERS[self.runner]})


def parse(text: str) -> Request:
    """A Request from the JSON of `text`."""
    found = json.loads(text)
    del found["labels"]
    return Request(**found | {"benchmarks": tuple(found["benchmarks"])})


def asked(event: Mapping[str, Any]) -> list[Request]:
    """What the event asks for; BadInput where it is malformed."""
    defaults = {key: os.environ.get(f"PERMIX_{key.upper()}") for key in _DECIDED}
    given = {key: value for key, value in defaults.items() if value}
    if "client_payload" in event:
        payload = _table(event["client_payload"], "client_payload")
        return [checked(given | {key: payload[key] for key in ("adapter", "revision") if key in payload})]
    if "inputs" in event:
        inputs = {key: value for key, value in _table(event["inputs"] or {}, "inputs").items() if value != ""}
        return [checked(given | inputs)]
    watched = os.environ.get("PERMIX_ADAPTERS", "").replace(",", " ").split()
    return [checked(given | {"adapter": adapter}) for adapter in watched]


def checked(given: Mapping[str, Any]) -> Request:
    """A Request from texts of unknown origin."""
    known = [name for name in Request.__dataclass_fields__ if name != "base"]
    if odd := sorted(set(given) - set(known)):
        raise BadInput(f"The request has an unknown key {odd[0]!r}: known: {', '.join(known)}.")
    for key, value in given.items():
        if not isinstance(value, str):
            raise BadInput(f"{key} of the request is {value!r}: it should be a text.")
    texts = {key: str(value) for key, value in given.items()}
    _fits(texts, "adapter", _REPOSITORY, "the adapter's name on the Hub, org/name")
    _fits(texts, "revision", _COMMIT, "a commit, 40 digits of 0-9 and a-f")
    _fits(texts, "flavor", _FLAVOR, "the name of a machine, for example a10g-small")
    _fits(texts, "max_cost", _USD, "USD, for example 2.50")
    _fits(texts, "timeout", _DURATION, f"a duration of at most {_LONGEST}, for example 90m")
    if price.seconds(texts.get("timeout", _LONGEST)) > price.seconds(_LONGEST):
        raise BadInput(f"timeout of the request is {texts['timeout']!r}: it should be at most {_LONGEST}.")
    _fits(texts, "runner", re.compile("|".join(RUNNERS)), " or ".join(RUNNERS))
    _fits(texts, "limit", re.compile(r"[0-9]{1,6}"), f"a number of problems, 0 (all) to {_MOST}")
    names = tuple(dict.fromkeys(texts.pop("benchmarks", "").replace(",", " ").split()))
    for name in names:
        benchmarks.builtin(name)
    more: dict[str, Any] = {"benchmarks": names} if names else {}
    return Request(**texts | more | ({"limit": int(texts["limit"])} if "limit" in texts else {}))


def _fits(texts: Mapping[str, str], key: str, form: re.Pattern[str], wanted: str) -> None:
    value = texts.get(key, "" if key == "adapter" else None)
    if value is not None and not form.fullmatch(value):
        raise BadInput(f"{key} of the request is {value[:200]!r}: it should be {wanted}.")


def _table(value: Any, name: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise BadInput(f"{name} of the event is {str(value)[:200]!r}: it should be a table of texts.")


def complete(request: Request, hub: "Hub") -> tuple[Request, str]:
    """The request with commit and base, and why there is nothing to do ("" where there is).

    BadInput or PermixError where adapter, base or benchmark cannot be had.
    """
    state = hub.state(f"{request.adapter}@{request.revision}" if request.revision else request.adapter)
    if state is None:
        raise BadInput(f"There is no adapter {request.adapter} on {hub.endpoint}, or the token may not see it.")
    found = replace(request, revision=state.sha, base=_base(state, hub))
    if hub.state(found.base) is None:
        raise BadInput(
            f"The base {found.base} of {found.adapter} is not on {hub.endpoint}, or the token may not see it: "
            "publish it, or correct base_model_name_or_path."
        )
    hub.check_read(found.base.partition("@")[0])
    made = sweep_of(found, hub)
    if made.state != "current":
        return found, ""
    return found, "its weights were evaluated already" if card.shows(hub, found.adapter, made.artifact) else ""


def sweep_of(request: Request, hub: "Hub") -> "Step":
    """The sweep that the request asks for, and whether it is there."""
    target = Target(base=request.base, adapter=f"{request.adapter}@{request.revision}")
    name = target.recipe(os.environ.get("PERMIX_RECIPE", ""))
    plan = Plan.of(RunRequest(name, (*request.settings, *target.overrides()), until="sweep"))
    plan.look_up(hub)
    return plan.steps[-1]


def _base(adapter: "RepositoryState", hub: "Hub") -> str:
    """The base that the adapter's own configuration names, at its commit where it names one."""
    if "adapter_config.json" not in adapter.files:
        raise BadInput(f"{adapter.repo} has no adapter_config.json: it should be a LoRA adapter as peft saves it.")
    try:
        config = json.loads(hub.download(f"{adapter.repo}@{adapter.sha}", "adapter_config.json").read_bytes())
        name, revision = config.get("base_model_name_or_path") or "", config.get("revision") or ""
    except (ValueError, AttributeError):
        raise BadInput(f"adapter_config.json of {adapter.repo} is no JSON table: save it with peft.") from None
    if not isinstance(name, str) or not _REPOSITORY.fullmatch(name):
        raise BadInput(
            f"adapter_config.json of {adapter.repo} names the base {str(name)[:200]!r}: "
            "base_model_name_or_path should be a model of the Hub, org/name."
        )
    pinned = isinstance(revision, str) and _COMMIT.fullmatch(revision)
    return f"{name}@{revision}" if pinned else name
