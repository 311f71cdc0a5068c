"""The contract of a stage: one page in `permix.stages` that ends in `STAGE = Stage(…)`.

A page has a docstring (the stage's work, the paper's section, `In:` and `Out:`), a frozen Config whose fields are the
keys of the recipe's table, and functions of that Config. Heavy libraries are imported inside `run`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from permix.errors import BadInput
from permix.experiment.recipe import Recipe
from permix.progress import Progress
from permix.run_record import later as later
from permix.run_record import setting as setting
from permix.run_record import unhashed as unhashed
from permix.sampling.sampler import Endpoint, Engine, Sampler, Sampling

Facts = dict[str, Any]
Folders = Mapping[str, Path]
Tables = Mapping[str, Sequence[dict[str, Any]]]


def recipe_field(default: Any = MISSING, **metadata: bool) -> Any:
    """A Config field that the whole recipe determines; the stage's own table cannot set it."""
    return field(default=default, metadata={"from recipe": True, **metadata})


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """The base of every stage's Config. `org` and `tag` are part of the target's name and not of the digest."""

    TABLE: ClassVar[str]
    """The recipe's table for the stage."""

    org: str = recipe_field("permix", unhashed=True)
    tag: str = recipe_field("", unhashed=True)
    seed: int = recipe_field(0)

    @classmethod
    def of(cls, recipe: Recipe, seed: int | None = None, **values: Any) -> Self:
        """Return the Config with the stage's settings in the recipe and `values`; by default with its first seed."""
        seed = recipe.seeds[0] if seed is None else seed
        return cls(org=recipe.org, tag=recipe.tag, seed=seed, **recipe.settings(cls.TABLE), **values)

    def refused(self, name: str, expected: str) -> BadInput:
        """Return the error for a key that is out of its range."""
        value = getattr(self, name)
        as_toml = list(value) if isinstance(value, tuple) else value
        return BadInput(f"[{self.TABLE}] {name} is {as_toml!r}: it should be {expected}.")

    def refuse_below(self, least: int, *names: str) -> None:
        """Raise BadInput for the first of these keys that is less than `least`."""
        for name in names:
            if getattr(self, name) < least:
                raise self.refused(name, f"at least {least}" if least else "0 or more")

    def name(self, stem: str) -> str:
        """Return `org/stem`, with `-tag` and `-seed<n>` appended where they are set."""
        tag = f"-{self.tag}" if self.tag else ""
        return f"{self.org}/{stem}{tag}" + (f"-seed{self.seed}" if self.seed else "")


def own_fields(config: type[StageConfig]) -> dict[str, Field[Any]]:
    """Return the fields of `config` that the recipe's table for the stage may set."""
    return {f.name: f for f in fields(config) if not f.metadata.get("from recipe")}


def help_texts(config: type[StageConfig]) -> dict[str, str]:
    """Return {field: help text} of a Config and its base classes; fields of Sampling and Engine have theirs."""
    texts: dict[str, str] = {}
    for owner in (Sampling, Engine, *reversed(config.__mro__[:-1])):
        own: dict[str, Field[Any]] = getattr(owner, "__dataclass_fields__", {})
        texts |= {name: f.metadata["help"] for name, f in own.items() if f.metadata.get("help")}
    return texts


@dataclass
class StageContext:
    """The live objects that `run` may use.

    `work` survives kills (journals, checkpoints) and is deleted after publication; `sources` maps each input to its
    repository@sha and `digests` to its content digest; `sampler` opens an engine and keeps it open for the artifacts
    of a group; `processes` is the number of processes that share this run.
    """

    work: Path
    sources: Mapping[str, str]
    digests: Mapping[str, str]
    progress: Progress
    threads: int
    sampler: Callable[[Engine | Endpoint], Sampler]
    processes: int = 1


ConfigT = TypeVar("ConfigT", bound=StageConfig)
AnyConfigT = TypeVar("AnyConfigT", bound=StageConfig, contravariant=True)


class Run(Protocol[AnyConfigT]):
    """Write the artifact's files into `out` and return its facts, without any access to a Hub."""

    def __call__(self, config: AnyConfigT, inputs: Folders, out: Path, *, context: StageContext) -> Facts:
        """`inputs` are the folders of the inputs by name."""


@dataclass(frozen=True)
class Replay:
    """The recomputation of an artifact's numbers from its own rows, for `permix verify`.

    `source` names the rows in the verdict. `run(recorded config, artifact folder, input folders)` returns the stored
    rows, the rows scored again (both by table) and the summary of the latter; its folders are those of the inputs
    whose names begin with `inputs`.
    """

    source: str
    run: Callable[[Mapping[str, Any], Path, Folders], tuple[Tables, Tables, Mapping[str, Any]]]
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[ConfigT]):
    """One stage of the pipeline."""

    name: str
    card: str
    """Its template in hub_cards/, without `.md`; "" if the artifact has its own README.md."""
    version: int
    """Raised when its results change."""
    config: type[ConfigT]
    configs: Callable[[Recipe], Sequence[ConfigT]] = lambda recipe: ()
    """One Config for each artifact that the recipe needs from this stage; none for a stage of a command."""
    target: Callable[[ConfigT], str]
    """The repository it publishes: `org/name`, `datasets/org/name` or `spaces/org/name`."""
    inputs: Callable[[ConfigT], Mapping[str, str]] = lambda config: {}
    """{input: repository}, with `@revision` if it is pinned."""
    run: Run[ConfigT]
    facts_only_inputs: tuple[str, ...] = ()
    """Prefixes of inputs that are used for facts only; they are left out of the digest."""
    reads: Callable[[ConfigT], Mapping[str, Sequence[str]]] = lambda config: {}
    """{input: its files to fetch}; other inputs are fetched whole."""
    check: Callable[[ConfigT, Folders], None] = lambda config, inputs: None
    """Raise BadInput for inputs that the stage cannot use; called before anything expensive runs."""
    group: Callable[[ConfigT], Any] | None = None
    """Artifacts with an equal group share one process."""
    estimate: Callable[[ConfigT], Mapping[str, float]] = lambda config: {}
    """{unit: upper bound of the cost}, with units such as tokens, steps and USD."""
    expected: Callable[[ConfigT], Mapping[str, float]] | None = None
    """{unit: expected cost}, for stages that `permix.pipeline.estimate` has no formula for."""
    notes: Callable[[ConfigT], Sequence[str]] = lambda config: ()
    """Warnings to print before the stage runs."""
    preview: Callable[[ConfigT], ConfigT] | None = None
    """The Config of a few rows, for the option --preview of a stage that costs money."""
    replay: Replay | None = None
    needs: Callable[[ConfigT], Sequence[str]] = lambda config: ()
    """The packages of the extras that it imports."""
    all_cores: bool = False
    """Whether it runs alone with every core."""
    ranks: bool = False
    """Whether `--processes` starts it that many times, alone, under accelerate."""

    @property
    def table(self) -> str:
        """The recipe's table for the stage."""
        return self.config.TABLE
