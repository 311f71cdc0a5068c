"""permix sample: ask a published variant, or any server, one question as a persona; several answers side by side."""

import importlib.util
import logging
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from permix import processes
from permix.commands import options
from permix.errors import BadInput, closest, nearest
from permix.experiment.recipe import Recipe
from permix.files import storable
from permix.paper import variants as variant
from permix.pipeline import plan, recipes
from permix.prompting import persona as personas
from permix.prompting import prompts
from permix.prompting.persona import Persona
from permix.publishing import hub as hubs
from permix.publishing.hub import Hub, RepositoryState
from permix.sampling.engines import open_engine
from permix.sampling.sampler import Adapter, Endpoint, Engine, Request, Sampler, Sampling
from permix.stage import StageConfig
from permix.stages import sweep


@dataclass(frozen=True)
class Speaker:
    """A persona and the variant (or repository, or model) that answers as it."""

    persona: Persona
    variant: str
    adapter: Adapter | None

    @property
    def title(self) -> str:
        """Persona and variant, as printed above an answer."""
        return f"{self.persona.key}, {self.variant}"


def sample(
    question: Annotated[str, typer.Argument(help="The problem, in quotes.")],
    persona: Annotated[
        list[str], typer.Option(help="Keys of the pools, separated by commas, 'none', or a text of your own.")
    ] = ["none"],  # noqa: B006 - typer reads the default, nobody changes it
    variant: Annotated[
        list[str], typer.Option(help="Variants of the recipe, separated by commas. Default: its last.")
    ] = [],  # noqa: B006
    compare: Annotated[bool, typer.Option("--compare", help="Show the answers side by side.")] = False,
    recipe: options.Recipe = "toy",
    overrides: options.Set = [],  # noqa: B006
    seed: Annotated[int, typer.Option(help="Seed of the sampling; that of a sweep's row gives its completion.")] = 0,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy. Default: the recipe's sweep.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Default: the recipe's sweep; 512 for another model than the toy recipes' own.")
    ] = None,
    base: Annotated[str, typer.Option(metavar="REPO", help="Another base model, without an adapter.")] = "",
    adapter: Annotated[list[str], typer.Option(metavar="REPO", help="Another adapter of the base.")] = [],  # noqa: B006
    endpoint: Annotated[str, typer.Option(metavar="URL", help="An OpenAI-compatible server instead of a base.")] = "",
    model: Annotated[str, typer.Option(help="The server's name for its model, or a model of the recipe.")] = "",
    key: Annotated[str, typer.Option(metavar="ENV", help="The environment variable with the server's key.")] = "",
    hub_url: options.HubUrl = None,
) -> None:
    """Ask one question and print the answer as it is sampled."""
    if not question.strip():
        raise BadInput("The question is empty: write one in quotes.")
    question, persona = storable([question, persona])
    experiment = recipes.load(recipe, overrides)
    another = bool(endpoint or model or base not in ("", experiment.base_repo))
    sampling = _sampling(experiment, temperature, max_tokens, overrides if another else None)
    if endpoint or model:
        if variant or base or adapter:
            raise BadInput("A server has its own models: name one by --model, not by --variant, --base or --adapter.")
        server = _server(experiment, endpoint, model, key)
        with _opened(server) as sampler:  # before the Hub: connecting to it takes keys out of the environment
            speakers = [Speaker(p, server.model, None) for p in _personas(experiment, persona, hub_url)]
            _answer(sampler, speakers, question, experiment, sampling, seed, compare)
        return
    _need_packages()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft loads it; it warns of kernels that are not needed
    hub = hubs.connect(hub_url)
    cast = _personas(experiment, persona, hub_url)
    folder = hub.fetch(_published(hub, base or experiment.base_repo, another))
    dtype = experiment.settings("sweep").get("dtype", Engine.dtype)
    engine = Engine(folder, dtype=dtype, threads=processes.cores())
    adapters = _adapters(experiment, hub, base, variant, adapter)
    with _opened(engine) as sampler:
        speakers = [Speaker(p, name, lora) for name, lora in adapters.items() for p in cast]
        _answer(sampler, speakers, question, experiment, sampling, seed, compare)


def _answer(
    sampler: Sampler,
    speakers: Sequence[Speaker],
    question: str,
    experiment: Recipe,
    sampling: Sampling,
    seed: int,
    compare: bool,
) -> None:
    requests = [
        Request(str(i), prompts.messages(question, s.persona, experiment.task.instruction), sampling, seed, s.adapter)
        for i, s in enumerate(speakers)
    ]
    sampler.check([request.messages for request in requests])  # before the first answer
    if compare and sys.stdout.isatty():
        completions = {c.id: c for c in sampler.sample(requests)}
        _table(speakers, {key: c.text or c.reason for key, c in completions.items()})
        for i, speaker in enumerate(speakers):
            _note(completions[str(i)].finish, sampling, f"{speaker.title}: ")
        return
    for speaker, request in zip(speakers, requests, strict=True):
        if len(speakers) > 1:
            print(f"## {speaker.title}", flush=True)
        else:
            print(f"{speaker.variant} as {speaker.persona.key}:", file=sys.stderr)
        finish = _print(sampler.stream(request))
        print(flush=True)
        _note(finish, sampling)
        if speaker is not speakers[-1]:
            print()


def _print(pieces: Generator[str, None, str]) -> str:
    """Print the pieces as they come; return the finish of the completion."""
    while True:
        try:
            print(next(pieces), end="", flush=True)
        except StopIteration as end:
            return str(end.value)


def _note(finish: str, sampling: Sampling, start: str = "") -> None:
    """Say on stderr that an answer was cut."""
    if finish == "length":
        print(f"{start}cut at {sampling.max_tokens} tokens: --max-tokens N", file=sys.stderr)


def _table(speakers: Sequence[Speaker], texts: dict[str, str]) -> None:
    """Print a row for each persona and a column for each variant; for one variant a column for each persona."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    variants = dict.fromkeys(speaker.variant for speaker in speakers)
    table = Table(show_lines=True, expand=True)
    if len(variants) == 1:
        for speaker in speakers:
            table.add_column(Text(speaker.title), ratio=1)
        table.add_row(*(Text(texts[str(i)]) for i in range(len(speakers))))
    else:
        for title in ("persona", *variants):
            table.add_column(Text(title), ratio=1)
        for persona in dict.fromkeys(speaker.persona for speaker in speakers):
            row = [Text(texts[str(i)]) for i, speaker in enumerate(speakers) if speaker.persona == persona]
            table.add_row(Text(persona.key), *row)
    Console().print(table)


def _sampling(
    experiment: Recipe, temperature: float | None, max_tokens: int | None, overrides: Sequence[str] | None = None
) -> Sampling:
    """Return the settings of the recipe's sweeps, with the options in their stead.

    `overrides` are the --set of a recipe that is asked for another model than its own: the settings of a toy recipe fit
    the toy only, so that a real model gets the defaults of sweeps and a length for real answers.
    """
    fields, settings = sweep.Config.__dataclass_fields__, experiment.settings("sweep")
    if overrides is not None and experiment.base == "toy":
        changed = {override.partition("=")[0].strip() for override in overrides}
        settings = {"max_tokens": Sampling.max_tokens} | {k: v for k, v in settings.items() if f"sweep.{k}" in changed}
    sampling = {name: settings.get(name, fields[name].default) for name in ("temperature", "top_p", "max_tokens")}
    options = {"temperature": temperature, "max_tokens": max_tokens}
    return Sampling(**sampling | {name: value for name, value in options.items() if value is not None})


def _personas(experiment: Recipe, texts: Sequence[str], hub_url: str | None) -> list[Persona]:
    """Return the personas that `texts` name: each is a key, keys separated by commas, or a system prompt."""
    pool = {p.key: p for p in (*personas.CONTROLS, *_pools(experiment, hub_url))}
    cast = []
    for text in texts:
        keys = [text] if text in pool else [key.strip() for key in text.split(",")]
        unknown = [key for key in keys if key not in pool]
        misspelt = next((key for key in unknown if len(key.split()) < 3), "") if len(keys) > 1 else ""
        if not unknown:
            cast += [pool[key] for key in keys]
        elif misspelt:
            raise BadInput(f"The persona {misspelt!r} is unknown: {nearest(misspelt, pool)}")
        elif len(text.split()) > 1 and not closest(text, pool, 0.8):
            cast.append(Persona("your persona", "Own", text))
        else:
            advice = "A text of your own has several words."
            raise BadInput(f"The persona {text!r} is unknown: {nearest(text, pool)} {advice}")
    return cast


def _pools(experiment: Recipe, hub_url: str | None) -> list[Persona]:
    if not experiment.settings("personas").get("dataset"):
        return [*personas.bundled("train"), *personas.bundled("eval")]
    hub = hubs.connect(hub_url)
    folder = hub.fetch(_published(hub, experiment.personas_repo))
    return [*personas.load(folder, "train"), *personas.load(folder, "eval")]


def _adapters(
    experiment: Recipe, hub: Hub, base: str, variants: Sequence[str], repos: Sequence[str]
) -> dict[str, Adapter | None]:
    """{name: adapter}; None for the base alone."""
    names = [name.strip() for several in variants for name in several.split(",")]
    if base and names:
        raise BadInput("--variant belongs to the recipe's base: name an adapter of another base by --adapter.")
    if not (names or base or repos):
        names = [experiment.variants[-1]]
    named = StageConfig(org=experiment.org, tag=experiment.tag, seed=experiment.seeds[0])
    repositories: dict[str, str] = {repo: repo for repo in repos}
    for name in names:
        untrained = variant.get(name).trainer == "none"
        repositories[name] = "" if untrained else named.name(f"{experiment.base_slug}-{name}")
    adapters: dict[str, Adapter | None] = {}
    for name, repo in (repositories or {base: ""}).items():
        state = _published(hub, repo, repo in repos) if repo else None
        adapters[name] = Adapter(hub.fetch(state), state.content_digest) if state else None
    return adapters


def _published(hub: Hub, repo: str, foreign: bool = False) -> RepositoryState:
    head = hub.state(repo)
    if head is None:
        ours = "publish it by `permix run`, or name another --recipe or --hub."
        raise BadInput(f"{repo} is not on {hub.endpoint}: {plan.advice(repo, hub) if foreign else ours}")
    return head


def _server(experiment: Recipe, url: str, model: str, key: str) -> Endpoint:
    if not model:
        raise BadInput("--endpoint needs --model: the server's name for the model.")
    if url:
        return Endpoint(model, url, key)
    known = experiment.model(model)
    if not known.url:
        raise BadInput(f"The recipe sets no url for the model {model!r}: name the server by --endpoint.")
    return known.endpoint()


@contextmanager
def _opened(engine: Engine | Endpoint) -> Iterator[Sampler]:
    sampler = open_engine(engine)
    try:
        yield sampler
    finally:
        sampler.close()


def _need_packages() -> None:
    if missing := [name for name in ("torch", "transformers", "peft") if importlib.util.find_spec(name) is None]:
        raise BadInput(
            f"Sampling on this machine needs {', '.join(missing)}: pip install 'permix[train]', or use --endpoint."
        )
