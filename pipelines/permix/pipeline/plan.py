"""What a recipe asks for, and what of it is there: steps in order, each missing, stale or current."""

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from permix import benchmarks, run_record, stages
from permix.errors import BadInput, PermixError, closest
from permix.experiment import models
from permix.experiment.recipe import Recipe
from permix.publishing.hub import Head, Hub, split
from permix.stage import StageConfig

State = Literal["missing", "stale", "current"]


@dataclass(eq=False)
class Step:
    """One artifact to be. `digest` is known once its inputs are current; `head` is what the Hub holds of it now."""

    stage: str
    config: StageConfig
    target: str
    needs: Mapping[str, str]
    head: Head | None = None
    digest: str | None = None
    fresh: bool = False
    sources: dict[str, Head] = field(default_factory=dict)

    @property
    def module(self) -> ModuleType:
        """The stage's page."""
        return stages.get(self.stage)

    @property
    def state(self) -> State:
        """current: the Hub holds just what this configuration and these inputs give."""
        if self.head is None or self.head.record is None:
            return "missing"
        same = self.digest is not None and self.head.record["digest"] == self.digest and self.head.intact
        return "current" if same and not self.fresh else "stale"

    @property
    def cost(self) -> dict[str, float]:
        """What making it would cost, as the stage estimates it."""
        estimate = getattr(self.module, "estimate", None)
        return dict(estimate(self.config)) if estimate else {}

    def fetch(self, hub: Hub, heads: Mapping[str, Head]) -> dict[str, Path]:
        """The folders of these inputs (name -> head), with at least the files that the stage reads."""
        reads = getattr(self.module, "reads", None)
        files = reads(self.config) if reads else {}
        return {name: hub.fetch(head, files.get(name, ())) for name, head in heads.items()}


def notes(steps: Iterable[Step]) -> list[str]:
    """What a person should know of the steps that are to be made, before it costs anything."""
    found: list[str] = []
    for step in steps:
        said = getattr(step.module, "notes", None) if step.state != "current" else None
        found += said(step.config) if said else []
    return list(dict.fromkeys(found))


def build(recipe: Recipe) -> list[Step]:
    """The steps of a recipe in an order in which each comes after its inputs."""
    steps = [
        Step(name, config, stages.get(name).target(config), stages.get(name).inputs(config))
        for name in stages.NAMES
        for config in stages.get(name).configs(recipe)
    ]
    seen: dict[str, Step] = {}
    for step in steps:
        if step.target in seen:
            other = f"stages {seen[step.target].stage} and {step.stage}"
            raise BadInput(f"Two rows of the plan have the target {step.target} ({other}): give one a tag.")
        seen[step.target] = step
    return steps


def until(steps: list[Step], stage: str | None) -> list[Step]:
    """The steps of `stage` and all that they need; every step where it is None."""
    if stage is None:
        return steps
    wanted = {step.target for step in steps if step.stage == stage}
    for step in reversed(steps):
        if step.target in wanted:
            wanted |= set(step.needs.values())
    return [step for step in steps if step.target in wanted]


def foreign(repo: str, hub: Hub, reader: str) -> Head:
    """The head of a repository that `reader` needs; BadInput where the Hub does not have it."""
    if hub.embedded and "@" in repo and repo in benchmarks.pinned():
        repo = repo.partition("@")[0]  # a pin is a commit of huggingface.co; a copy here has a commit of its own
    head = hub.head(repo)
    if head is None:
        raise BadInput(f"{repo} is needed by {reader} and is not on {hub.endpoint}: {_advice(repo, hub)}")
    return head


def resolve_foreign(steps: Iterable[Step], hub: Hub) -> dict[str, Head]:
    """The heads of all inputs that no step makes; BadInput for the first that the Hub does not have."""
    made = {step.target for step in steps}
    heads: dict[str, Head] = {}
    for step in steps:
        for repo in step.needs.values():
            if repo not in made and repo not in heads:
                heads[repo] = foreign(repo, hub, f"stage {step.stage}")
    return heads


def look_up(steps: Iterable[Step], hub: Hub) -> None:
    """Fetch what the Hub holds of each step; BadInput where that is not permix's, for it would be overwritten."""
    for step in steps:
        step.head = hub.head(step.target)
        if step.head and step.head.record is None and any(map(run_record.is_content, step.head.files)):
            raise BadInput(
                f"{step.target} on {hub.endpoint} holds files that permix did not make: "
                "set org= or tag= so that yours gets another name."
            )


def settle(step: Step, heads: Mapping[str, Head]) -> bool:
    """Give the step its digest if all its inputs are among `heads` (repository as it is needed -> head)."""
    if any(repo not in heads for repo in step.needs.values()):
        return False
    step.sources = {name: heads[repo] for name, repo in step.needs.items()}
    beside = getattr(step.module, "BESIDE", ())
    contents = {name: h.content_digest for name, h in step.sources.items() if not name.startswith(beside)}
    step.digest = run_record.digest(step.stage, step.module.VERSION, step.config, contents)
    return True


def settle_all(steps: Iterable[Step], heads: Mapping[str, Head]) -> None:
    """Settle what can be settled without making anything."""
    known = dict(heads)
    for step in steps:
        if settle(step, known) and step.state == "current":
            assert step.head is not None
            known[step.target] = step.head


def check_foreign(steps: Iterable[Step], heads: Mapping[str, Head], hub: Hub) -> None:
    """Let stages that have work look at what comes from elsewhere before anything expensive is made."""
    for step in steps:
        check: Any = getattr(step.module, "check", None)
        if step.state == "current":
            continue
        found = {
            name: heads[repo] for name, repo in step.needs.items() if repo in heads and repo.startswith("datasets/")
        }
        folders = step.fetch(hub, found)
        if check and found:
            check(step.config, folders)


def missing_packages(step: Step) -> list[str]:
    """The packages that making the step needs and that are not installed."""
    needed = getattr(step.module, "NEEDS", ())
    needed = needed(step.config) if callable(needed) else needed
    return [name for name in needed if importlib.util.find_spec(name) is None]


def check_packages(steps: Iterable[Step]) -> None:
    """Raise BadInput when a step that is to be made needs packages that are not installed, or an API key."""
    for step in steps:
        if step.state == "current":
            continue
        models.keys(step.config)
        if missing := missing_packages(step):
            extras = "train,vllm" if "vllm" in missing else "train"
            raise BadInput(
                f"Stage {step.stage} needs {', '.join(missing)}, not installed here: pip install 'permix[{extras}]'."
            )


def find(repo: str, hub: Hub, like: str = "") -> Head:
    """The head of an artifact that permix made; BadInput names the nearest of those with `like` in their names."""
    head = hub.head(repo)
    if head is None:
        advice = meant(repo, hub, like) or "`permix plan` names those of a recipe."
        raise BadInput(f"There is no repository {repo} on {hub.endpoint}: {advice}")
    if head.record is None:
        raise PermixError(f"{repo} has no run.json: it was not made by permix.")
    return head


def meant(repo: str, hub: Hub, like: str = "") -> str:
    """`did you mean X?` with what of the Hub `repo` may stand for, first of those with `like` in their names; or "".

    Its kind and the start of its name may have been left away; its owner too, where the Hub is the embedded one: of
    another every repository would have to be listed.
    """
    wanted = split(repo)[1]
    owner, _, last = wanted.rpartition("/")
    if not (owner or hub.embedded):
        return ""
    there = {split(name)[1]: name for name in hub.repositories("" if hub.embedded else owner)}
    for names in ([name for name in there if like in name], there):
        ending = [name for name in names if last and name.endswith(last)]
        if close := closest(wanted, ending or names, 0 if ending else 0.7):
            return f"did you mean {there[close]}?"
    return ""


def _advice(repo: str, hub: Hub) -> str:
    name = repo.partition("@")[0]
    return (
        f"`permix hub import FOLDER {name}` puts a local copy there, "
        f"`permix hub mirror {name} --from https://huggingface.co` another Hub's; or use that Hub with --hub."
        if hub.embedded
        else "check the name and the token's rights."
    )
