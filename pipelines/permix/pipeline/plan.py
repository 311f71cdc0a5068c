"""A recipe as steps in order, each missing, stale or current on a Hub."""

import importlib.util
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from permix import benchmarks, run_record, stages
from permix.errors import BadInput
from permix.experiment import models
from permix.experiment.recipe import Recipe
from permix.pipeline import recipes
from permix.publishing.hub import Artifact, Hub, RepositoryState
from permix.stage import Stage, StageConfig

State = Literal["missing", "stale", "current"]


@dataclass(eq=False)
class Step:
    """One artifact. `published` is its state on the Hub; `digest` is "" until all inputs are current."""

    stage: Stage[Any]
    config: StageConfig
    target: str
    needs: Mapping[str, str]
    published: RepositoryState | None = None
    digest: str = ""
    fresh: bool = False
    sources: dict[str, RepositoryState] = field(default_factory=dict)

    @classmethod
    def of(cls, stage: Stage[Any], config: StageConfig) -> "Step":
        """Return the step that publishes the artifact of `config`."""
        return cls(stage, config, stage.target(config), stage.inputs(config))

    @property
    def artifact(self) -> Artifact:
        """The published artifact, once the step has been run or found current."""
        assert isinstance(self.published, Artifact)
        return self.published

    @property
    def state(self) -> State:
        """`current` if the Hub holds the result of this configuration and these inputs."""
        if not isinstance(self.published, Artifact):
            return "missing"
        same = self.published.record["digest"] == self.digest and self.published.intact
        return "current" if same and not self.fresh else "stale"

    @property
    def cost(self) -> dict[str, float]:
        """The stage's upper bound of the cost."""
        return dict(self.stage.estimate(self.config))

    def fetch(self, hub: Hub, sources: Mapping[str, RepositoryState]) -> dict[str, Path]:
        """Return the folders of these inputs, with at least the files that the stage reads."""
        names = self.stage.reads(self.config)
        return {name: hub.fetch(source, names.get(name, ())) for name, source in sources.items()}

    def settle(self, states: Mapping[str, RepositoryState]) -> bool:
        """Compute the digest if `states` ({repository as it is needed: state}) has every input."""
        if any(repo not in states for repo in self.needs.values()):
            return False
        self.sources = {name: states[repo] for name, repo in self.needs.items()}
        facts_only = self.stage.facts_only_inputs
        contents = {name: s.content_digest for name, s in self.sources.items() if not name.startswith(facts_only)}
        self.digest = run_record.digest(self.stage.name, self.stage.version, self.config, contents)
        return True

    def missing_packages(self) -> list[str]:
        """Return the packages that the step needs and that are not installed."""
        return [name for name in self.stage.needs(self.config) if importlib.util.find_spec(name) is None]


@dataclass(frozen=True)
class RunRequest:
    """A recipe's name or file with its changes; `until` is the last stage to run, None for the whole recipe."""

    name: str
    overrides: tuple[str, ...]
    until: str | None = None
    fresh: tuple[str, ...] = ()
    workers: int = 0
    processes: int = 1

    def split(self, fan_out: str) -> list["RunRequest"]:
        """Return one request per variant or per benchmark; a benchmark's name ends the name of its sweep."""
        if fan_out == "none":
            return [self]
        recipe = recipes.load(self.name, self.overrides)
        changes = [[f"variants={json.dumps([name])}"] for name in recipe.variants]
        if fan_out == "benchmarks":
            label = str(recipe.settings("sweep").get("label", ""))
            labels = {source.name: "-".join(filter(None, [label, source.name])) for source in recipe.benchmarks}
            changes = [[f"benchmarks={json.dumps([n])}", f"sweep.label={label}"] for n, label in labels.items()]
        return [replace(self, overrides=(*self.overrides, *change)) for change in changes]


@dataclass
class Plan:
    """The steps of a request, and the states of the repositories that they need and do not build."""

    request: RunRequest
    recipe: Recipe
    steps: list[Step]
    foreign: Mapping[str, RepositoryState] = field(default_factory=dict)

    @classmethod
    def of(cls, request: RunRequest) -> "Plan":
        """Read the recipe, without a Hub; BadInput for a mistake in the recipe or a stage's settings."""
        recipe = recipes.load(request.name, request.overrides)
        steps = until(build(recipe), request.until)
        if not steps:
            raise BadInput(f"Recipe {recipe.name} has nothing of stage {request.until}: choose other variants or base.")
        for name in request.fresh:
            stages.get(name)
        for step in steps:
            step.fresh = step.stage.name in request.fresh
        return cls(request, recipe, steps)

    def look_up(self, hub: Hub) -> None:
        """Compare the steps and their foreign inputs with the Hub."""
        self.foreign = look_up(self.steps, hub)

    @property
    def open(self) -> list[Step]:
        """The steps that are missing or stale."""
        return open_steps(self.steps)


def open_steps(steps: Iterable[Step]) -> list[Step]:
    """Return the steps that are missing or stale."""
    return [step for step in steps if step.state != "current"]


def build(recipe: Recipe) -> list[Step]:
    """Return the steps of a recipe, each after its inputs."""
    every = map(stages.get, stages.NAMES)
    steps = [Step.of(stage, config) for stage in every for config in stage.configs(recipe)]
    by_target: dict[str, Step] = {}
    for step in steps:
        if other := by_target.get(step.target):
            names = f"stages {other.stage.name} and {step.stage.name}"
            raise BadInput(f"Two rows of the plan have the target {step.target} ({names}): give one a tag.")
        by_target[step.target] = step
    return steps


def until(steps: list[Step], stage: str | None) -> list[Step]:
    """Return the steps of `stage` with everything they need; all steps for None."""
    if stage is None:
        return steps
    needed = {step.target for step in steps if step.stage.name == stage}
    for step in reversed(steps):
        if step.target in needed:
            needed |= set(step.needs.values())
    return [step for step in steps if step.target in needed]


def look_up(steps: Iterable[Step], hub: Hub) -> dict[str, RepositoryState]:
    """Look up which steps are current; return the other inputs' states. BadInput: missing input, foreign target."""
    steps = list(steps)
    targets = {step.target for step in steps}
    foreign: dict[str, RepositoryState] = {}
    for step in steps:
        for repo in step.needs.values():
            if repo not in targets and repo not in foreign:
                foreign[repo] = foreign_input(repo, hub, f"stage {step.stage.name}")
    for step in steps:
        step.published = hub.state(step.target)
        _refuse_to_overwrite(step, hub)
    states = dict(foreign)
    for step in steps:
        if step.settle(states) and step.state == "current":
            states[step.target] = step.artifact
    return foreign


def foreign_input(repo: str, hub: Hub, reader: str) -> RepositoryState:
    """Return the state of a repository that `reader` needs; BadInput where the Hub does not have it."""
    if hub.embedded and "@" in repo and repo in benchmarks.pinned():
        repo = repo.partition("@")[0]  # a pin is a commit of huggingface.co; a copy here has a commit of its own
    state = hub.state(repo)
    if state is None:
        raise BadInput(f"{repo} is needed by {reader} and is not on {hub.endpoint}: {advice(repo, hub)}")
    return state


def _refuse_to_overwrite(step: Step, hub: Hub) -> None:
    state, advice = step.published, "set org= or tag= to give yours another name."
    if isinstance(state, Artifact):
        if state.record["stage"] != step.stage.name:
            owner = state.record["stage"]
            raise BadInput(f"{step.target} on {hub.endpoint} is an artifact of stage {owner}: {advice}")
    elif state and any(map(run_record.is_content, state.files)):
        raise BadInput(f"{step.target} on {hub.endpoint} holds files that permix did not publish: {advice}")


def notes(steps: Iterable[Step]) -> list[str]:
    """Return the warnings of the steps that will run."""
    return list(dict.fromkeys(note for step in open_steps(steps) for note in step.stage.notes(step.config)))


def check_foreign(steps: Iterable[Step], foreign: Mapping[str, RepositoryState], hub: Hub) -> None:
    """Let the stages that will run check their foreign datasets before anything expensive runs."""
    for step in open_steps(steps):
        datasets = {n: foreign[r] for n, r in step.needs.items() if r in foreign and r.startswith("datasets/")}
        if folders := step.fetch(hub, datasets):
            step.stage.check(step.config, folders)


def check_packages(steps: Iterable[Step]) -> None:
    """Raise BadInput if a step that will run needs a package that is not installed, or an API key."""
    for step in open_steps(steps):
        models.keys(step.config)
        if missing := step.missing_packages():
            extras = "train,vllm" if "vllm" in missing else "train"
            names = ", ".join(missing)
            raise BadInput(f"Stage {step.stage.name} needs {names}, not installed: pip install 'permix[{extras}]'.")


def advice(repo: str, hub: Hub) -> str:
    """Say how a repository that is missing gets onto the Hub."""
    name = repo.partition("@")[0]
    return (
        f"`permix hub import FOLDER {name}` puts a local copy there, "
        f"`permix hub mirror {name} --from https://huggingface.co` another Hub's; or use that Hub with --hub."
        if hub.embedded
        else "check the name and the token's rights."
    )
