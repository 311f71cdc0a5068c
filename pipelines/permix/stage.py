"""What a stage is: a module of `permix.stages` with

    a docstring     what it does, the paper's section, `In:` and `Out:`
    CARD            its template in hub_cards/, without `.md`; "" where the artifact brings its README.md
    VERSION         an integer, raised when its results change
    Config          frozen; the keys of the recipe's table [stage] are its fields, each described by a line of the
                    docstring, `name: what it is`, which is what --help shows
    configs(recipe) one Config for each artifact that the recipe asks of this stage
    target(config)  the repository it publishes: `org/name`, `datasets/org/name` or `spaces/org/name`
    inputs(config)  {name: repository, with @revision where one is asked for}
    BESIDE          optional: how names of inputs begin that facts alone tell of: the result does not depend on them
    reads(config)   optional: {input: the files of it that are read}, where it need not be fetched whole
    run(config, inputs, out, *, parts) -> facts     writes the artifact's files into `out`; knows no Hub
    group(config)   optional: what artifacts that should share one process have in common
    estimate(config) optional: {"tokens": …}, what making it costs at most
    expected(config) optional: the same as it is expected, where permix.pipeline.estimate.estimate knows no better
    notes(config)   optional: sentences that a person should read before it is made
    preview(config) optional: the Config of a few rows, for the option --preview of a stage that costs money
    NEEDS           optional: packages of the extra `train` that it imports; or a function of the Config that says so
    ALL_CORES       optional: True when it runs alone with every core
    RANKS           optional: True when `--processes` starts it so many times, alone, under accelerate (pipeline.ranks)

Heavy libraries are imported inside `run`.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permix import stages
from permix.errors import BadInput
from permix.progress import Progress

if TYPE_CHECKING:
    from permix.sampling.sampler import Endpoint, Engine, Sampler

Facts = dict[str, Any]


def given(**how: Any) -> Any:
    """A Config field that the recipe as a whole fills in: no key of the stage's own table."""
    return field(metadata={"given": True}, **how)


def unhashed(default: Any) -> Any:
    """A Config field that cannot change the result, so it stays out of the digest (a batch size, say)."""
    return field(default=default, metadata={"unhashed": True})


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What every stage's Config has. `org` and `tag` name the target and do not change the result."""

    org: str = field(default="permix", metadata={"given": True, "unhashed": True})
    tag: str = field(default="", metadata={"given": True, "unhashed": True})
    seed: int = given(default=0)

    def refused(self, name: str, expected: str) -> BadInput:
        """The error for a key that is out of its range."""
        table, value = stages.table_of(type(self).__module__.rpartition(".")[2]), getattr(self, name)
        shown = list(value) if isinstance(value, tuple) else value  # as TOML writes it
        return BadInput(f"[{table}] {name} is {shown!r}: it should be {expected}.")

    def refuse_below(self, least: int, *names: str) -> None:
        """Raise BadInput for the first of these keys that is less than `least`."""
        for name in names:
            if getattr(self, name) < least:
                raise self.refused(name, f"at least {least}" if least else "0 or more")

    def name(self, stem: str) -> str:
        """`org/stem`, with `-tag` and `-seed<n>` appended where they are set."""
        tag = f"-{self.tag}" if self.tag else ""
        return f"{self.org}/{stem}{tag}" + (f"-seed{self.seed}" if self.seed else "")


_LINE = re.compile(r"^(\w+): (.+(?:\n {4}.+)*)", re.MULTILINE)


def described(config: type[StageConfig]) -> dict[str, str]:
    """What each field is, by the lines `name: what it is` in the docstrings of the Config and its base classes.

    What is named as a field of Sampling or Engine is described there.
    """
    from permix.sampling.sampler import Engine, Sampling

    texts = (inspect.cleandoc(cls.__doc__ or "") for cls in (Sampling, Engine, *reversed(config.__mro__)))
    return {name: " ".join(line.split()) for text in texts for name, line in _LINE.findall(text)}


def own_fields(config: type[StageConfig]) -> dict[str, Field[Any]]:
    """The fields of `config` that the recipe's table for the stage may set."""
    return {f.name: f for f in fields(config) if not f.metadata.get("given")}


@dataclass
class Parts:
    """The live things a stage is given.

    `work` survives kills (journals, checkpoints) and is deleted when the artifact is published; `sources` says
    which repository@sha each input is; `sampler` opens an engine once and keeps it for the artifacts of a group;
    `processes` run this stage together.
    """

    work: Path
    sources: Mapping[str, str]
    digests: Mapping[str, str]
    progress: Progress
    threads: int
    sampler: "Callable[[Engine | Endpoint], Sampler]"
    processes: int = 1
