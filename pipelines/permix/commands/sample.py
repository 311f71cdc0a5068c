"""permix sample: one question to a published variant, or to any server, as a persona; several side by side."""

import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from permix.commands import options
from permix.errors import BadInput, closest, nearest
from permix.experiment.recipe import Recipe
from permix.pipeline import recipes
from permix.prompting import persona as personas
from permix.prompting import prompts
from permix.prompting.persona import Persona
from permix.sampling.engines import open_engine
from permix.sampling.sampler import Adapter, Endpoint, Engine, Request, Sampler, Sampling

if TYPE_CHECKING:
    from permix.publishing.hub import Head, Hub


@dataclass(frozen=True)
class Speaker:
    """Who answers: a persona and the variant (or repository, or model) that plays it."""

    persona: Persona
    variant: str
    adapter: Adapter | None


def sample(
    question: Annotated[str, typer.Argument(help="The problem, in quotes.")],
    persona: Annotated[
        list[str], typer.Option(help="A key of the pools, several with commas, 'none', or a text of your own.")
    ] = ["none"],  # noqa: B006 - typer reads the default, nobody changes it
    variant: Annotated[
        list[str], typer.Option(help="A variant of the recipe, several with commas. Default: its last.")
    ] = [],  # noqa: B006
    compare: Annotated[bool, typer.Option("--compare", help="Show the answers side by side.")] = False,
    recipe: options.Recipe = "toy",
    set: options.Set = [],  # noqa: B006
    seed: Annotated[int, typer.Option(help="Of the noise: another number gives another answer.")] = 0,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy. Default: the recipe's sweep.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Default: the recipe's sweep.")] = None,
    base: Annotated[str, typer.Option(metavar="REPO", help="Another base model, without an adapter of ours.")] = "",
    adapter: Annotated[list[str], typer.Option(metavar="REPO", help="Another adapter of the base.")] = [],  # noqa: B006
    endpoint: Annotated[str, typer.Option(metavar="URL", help="An OpenAI-compatible server instead of a base.")] = "",
    model: Annotated[str, typer.Option(help="The server's name for its model, or a model of the recipe.")] = "",
    key: Annotated[str, typer.Option(metavar="ENV", help="The environment variable with the server's key.")] = "",
    hub: options.Hub = None,
) -> None:
    """Ask one question and print the answer as it is sampled."""
    if not question.strip():
        raise BadInput("The question is empty: ask something.")
    plan = recipes.load(recipe, set)
    sampling = _sampling(plan, temperature, max_tokens)
    if endpoint or model:
        if variant or base or adapter:
            raise BadInput("A server has its own models: name one by --model, not by --variant, --base or --adapter.")
        server = _server(plan, endpoint, model, key)
        with _opened(server) as sampler:  # before the Hub: connecting to it takes keys out of the environment
            cast = [Speaker(who, server.model, None) for who in _personas(plan, persona, hub)]
            _answer(sampler, cast, question, plan, sampling, seed, compare)
        return
    _need_packages()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft loads it; it warns of kernels that are not needed
    from permix.publishing import hub as hubs

    place = hubs.connect(hub)
    who = _personas(plan, persona, hub)
    engine = Engine(place.fetch(_there(place, base or plan.base_repo)), threads=os.cpu_count() or 1)
    adapters = _adapters(plan, place, base, variant, adapter)
    with _opened(engine) as sampler:
        cast = [Speaker(one, name, found) for name, found in adapters.items() for one in who]
        _answer(sampler, cast, question, plan, sampling, seed, compare)


def _answer(
    sampler: Sampler,
    cast: Sequence[Speaker],
    question: str,
    plan: Recipe,
    sampling: Sampling,
    seed: int,
    compare: bool,
) -> None:
    requests = [
        Request(str(i), prompts.messages(question, who.persona, plan.task.instruction), sampling, seed, who.adapter)
        for i, who in enumerate(cast)
    ]
    if compare and sys.stdout.isatty():
        _table(cast, {c.id: c.text for c in sampler.sample(requests)})
        return
    for who, request in zip(cast, requests, strict=True):
        if len(cast) > 1:
            print(f"## {who.persona.key}, {who.variant}")
        else:
            print(f"{who.variant} as {who.persona.key}:", file=sys.stderr)
        for piece in sampler.stream(request):
            print(piece, end="", flush=True)
        print("\n" if who is not cast[-1] else "")


def _table(cast: Sequence[Speaker], texts: dict[str, str]) -> None:
    """A row for each persona and a column for each variant; for one variant a column for each persona."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    variants, keys = ({getattr(who, a): None for who in cast} for a in ("variant", "persona"))
    table = Table(show_lines=True, expand=True)
    if len(variants) == 1:
        for who in cast:
            table.add_column(Text(f"{who.persona.key}, {who.variant}"), ratio=1)
        table.add_row(*(Text(texts[str(i)]) for i in range(len(cast))))
    else:
        for title in ("persona", *variants):
            table.add_column(Text(title), ratio=1)
        for one in keys:
            row = [Text(texts[str(i)]) for i, who in enumerate(cast) if who.persona == one]
            table.add_row(Text(one.key), *row)
    Console().print(table)


def _sampling(plan: Recipe, temperature: float | None, max_tokens: int | None) -> Sampling:
    """The recipe's own settings of sweeps, with what was given instead."""
    from permix.stages import sweep

    own = sweep.Config.__dataclass_fields__
    set_ = plan.settings("sweep")
    found = {name: set_.get(name, own[name].default) for name in ("temperature", "top_p", "max_tokens")}
    given = {"temperature": temperature, "max_tokens": max_tokens}
    return Sampling(**found | {name: value for name, value in given.items() if value is not None})


def _personas(plan: Recipe, wanted: Sequence[str], hub: str | None) -> list[Persona]:
    """Each of `wanted` is a key, keys with commas between them, or the text of a persona of one's own."""
    pool = {p.key: p for p in (*personas.CONTROLS, *_pools(plan, hub))}
    found = []
    for text in wanted:
        parts = [part.strip() for part in text.split(",")]
        if text in pool or all(part in pool for part in parts):
            found += [pool[part] for part in ([text] if text in pool else parts)]
        elif wrong := next(
            (part for part in parts if len(parts) > 1 and part not in pool and len(part.split()) < 3), ""
        ):
            raise BadInput(f"There is no persona {wrong!r}: {nearest(wrong, pool)}")
        elif len(text.split()) > 1 and not closest(text, pool, 0.8):
            found.append(Persona("your persona", "Own", text))
        else:
            raise BadInput(f"There is no persona {text!r}: {nearest(text, pool)} A text of your own has several words.")
    return found


def _pools(plan: Recipe, hub: str | None) -> list[Persona]:
    if not plan.settings("personas").get("dataset"):
        return [*personas.bundled("train"), *personas.bundled("eval")]
    from permix.publishing import hub as hubs

    place = hubs.connect(hub)
    folder = place.fetch(_there(place, plan.personas_repo))
    return [*personas.load(folder, "train"), *personas.load(folder, "eval")]


def _adapters(
    plan: Recipe, place: "Hub", base: str, variants: Sequence[str], repos: Sequence[str]
) -> dict[str, Adapter | None]:
    """{name: adapter}; None for the base alone."""
    from permix.paper import variants as variant
    from permix.stage import StageConfig

    names = [name.strip() for several in variants for name in several.split(",")]
    if base and names:
        raise BadInput("--variant is of the recipe's base: name an adapter of another base by --adapter.")
    if not (names or base or repos):
        names = [plan.variants[-1]]
    named = StageConfig(org=plan.org, tag=plan.tag, seed=plan.seeds[0])
    repositories: dict[str, str] = {repo: repo for repo in repos}
    for name in names:
        untrained = variant.get(name).trainer == "none"
        repositories[name] = "" if untrained else named.name(f"{plan.base_slug}-{name}")
    found: dict[str, Adapter | None] = {}
    for name, repo in (repositories or {base: ""}).items():
        head = _there(place, repo) if repo else None
        found[name] = Adapter(place.fetch(head), head.content_digest) if head else None
    return found


def _there(place: "Hub", repo: str) -> "Head":
    head = place.head(repo)
    if head is None:
        raise BadInput(
            f"{repo} is not on {place.endpoint}: make it by `permix run`, or name another --recipe or --hub."
        )
    return head


def _server(plan: Recipe, url: str, model: str, key: str) -> Endpoint:
    if not model:
        raise BadInput("--endpoint needs --model: the server's name for the model.")
    if url:
        return Endpoint(model, url, key)
    known = plan.model(model)
    if not known.url:
        raise BadInput(f"The model {model!r} has no url: give the server by --endpoint.")
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
        raise BadInput(f"Sampling here needs {', '.join(missing)}: pip install 'permix[train]', or use --endpoint.")
