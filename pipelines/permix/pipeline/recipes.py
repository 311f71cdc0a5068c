"""Read recipes: a whole experiment in one TOML file, with a table per stage whose keys are the stage's Config fields.

name, org, tag, seeds, base, variants, benchmarks, …   the experiment
[personas] dataset= or eval=                           your own pools: on the Hub, or a file for the pool eval only
[task]                                                 the training problems (a Source)
[benchmark.x]                                          your own benchmark (a Source)
[model.x]                                              a teacher, rewriter or judge (a Model): new, or a changed builtin
[toy] [mixtures] [grpo] [sweep] …                      settings of a stage; [toy] has those of stage base
[toy.teacher]                                          settings of the toy teacher that differ from the toy base's
[calibrate]                                            grids for `permix calibrate` (permix.experiment.calibration)
"""

import re
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from permix import benchmarks, files, stages
from permix.errors import BadInput, nearest
from permix.experiment import calibration as grid
from permix.experiment import models
from permix.experiment.models import Model
from permix.experiment.recipe import Recipe
from permix.paper import variants as variant
from permix.pipeline.checking import as_table, check
from permix.stage import own_fields


def names() -> list[str]:
    """Return the names of the recipes that come with permix."""
    return sorted(path.stem for path in files.RECIPES.glob("*.toml"))


def load(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """Read the recipe `name` (ours or a TOML path) and apply `key=value` overrides; BadInput for a bad key or type."""
    path = Path(name) if name.endswith(".toml") else files.RECIPES / f"{name}.toml"
    if not path.is_file():
        if name.endswith(".toml"):
            raise BadInput(f"There is no file {path.absolute()}: give the path of your recipe.")
        raise BadInput(f"There is no recipe {name!r}: {nearest(name, names())} A file of your own ends in .toml.")
    try:
        data = tomllib.loads(files.read_text(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"The recipe {path.name} is not TOML: {error}.") from None
    data.setdefault("name", path.stem)
    for override in overrides:
        _override(data, override)
    return parse(data, path.name)


def parse(data: Mapping[str, Any], where: str) -> Recipe:
    """Return the recipe with this content, checked; `where` names it in errors."""
    top = {f.name: f for f in fields(Recipe) if f.name not in ("tables", "models", "calibration")}
    known = {*top, "benchmark", "personas", "model", "calibrate", *(stages.get(name).table for name in stages.NAMES)}
    for key in data:
        if key not in known:
            raise BadInput(f"{where} has an unknown key {key!r}: {_suggest(key, known)}")
    tables, sources = _tables(data, where), _benchmarks(data, where)
    values = {key: value for key, value in data.items() if key in top and key not in ("task", "benchmarks")}
    settings = check(values, top, typing.get_type_hints(Recipe), where)
    if "task" in data:
        task = as_table(data["task"], f"[task] of {where}")
        settings["task"] = _source({"split": "train", **task}, f"[task] of {where}")
    named = models.BUILTIN | {
        name: _model(name, table, f"[model.{name}] of {where}")
        for name, table in as_table(data.get("model", {}), f"[model] of {where}").items()
    }
    if "calibrate" in data:
        grids = as_table(data["calibrate"], f"[calibrate] of {where}")
        settings["calibration"] = grid.read(grids, [source.name for source in sources], f"[calibrate] of {where}")
    recipe = Recipe(**settings, benchmarks=sources, models=named, tables=tables)
    _check_whole(recipe, where)
    return recipe


def _tables(data: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """Return the settings of each stage that has a table, and those of [toy.teacher]."""
    tables = {}
    for stage in map(stages.get, stages.NAMES):
        if (table := stage.table) in data and stage.name != "personas":
            known, hints = own_fields(stage.config), typing.get_type_hints(stage.config)
            settings = dict(as_table(data[table], f"[{table}] of {where}"))
            if stage.name == "base" and "teacher" in settings:
                teacher = settings.pop("teacher")
                tables["toy.teacher"] = check(teacher, known, hints, f"[toy.teacher] of {where}", _suggest)
            tables[stage.name] = check(settings, known, hints, f"[{table}] of {where}", _suggest)
    if "personas" in data:
        kinds = {"dataset": str, "eval": str}
        tables["personas"] = check(data["personas"], kinds, kinds, f"[personas] of {where}")
        if len(tables["personas"]) == 2:
            raise BadInput(f"[personas] of {where} names a dataset and a file for its pool eval: give one of them.")
        _check_repository(tables["personas"].get("dataset", "x/y"), f"[personas] dataset of {where}")
    return tables


def _benchmarks(data: Mapping[str, Any], where: str) -> tuple[benchmarks.Source, ...]:
    """Return the sources of the recipe's `benchmarks`, by default all tables [benchmark.x]."""
    own = {
        n: _source({"name": n, **as_table(t, f"[benchmark.{n}] of {where}")}, f"[benchmark.{n}] of {where}")
        for n, t in as_table(data.get("benchmark", {}), where).items()
    }
    chosen = data.get("benchmarks", list(own))
    if not isinstance(chosen, list) or not all(isinstance(n, str) for n in chosen):
        raise BadInput(f"benchmarks of {where} should be a list of names.")
    return tuple(own[name] if name in own else benchmarks.builtin(name) for name in chosen)


def _suggest(key: str, known: Iterable[str]) -> str:
    """Return advice on an unknown key: the same key of another table, or the nearest of the `known` and all others."""
    inside = {stage.table: own_fields(stage.config) for stage in map(stages.get, stages.NAMES)}
    inside["task"] = {f.name: f for f in fields(benchmarks.Source) if f.name != "module"}
    if same_key := [f"{table}.{key}" for table, keys in inside.items() if key in keys]:
        return f"did you mean {' or '.join(map(repr, same_key))}?"
    return nearest(key, known, (f"{table}.{name}" for table, keys in inside.items() for name in keys))


def _source(table: dict[str, Any], where: str) -> benchmarks.Source:
    hints = typing.get_type_hints(benchmarks.Source)
    values = check(table, {f.name: f for f in fields(benchmarks.Source) if f.name != "module"}, hints, where)
    if not values.get("dataset"):
        start = benchmarks.builtin(values.get("name", "arithmetic"))
        return replace(start, **{k: v for k, v in values.items() if k != "dataset"})
    _check_repository(values["dataset"], f"dataset of {where}")
    return benchmarks.Source(**{"name": values["dataset"].split("@")[0].split("/")[1], **values})


def _model(name: str, table: Any, where: str) -> Model:
    """Return a builtin model with these keys changed, or a new model."""
    values = check(table, {f.name: f for f in fields(Model) if f.name != "name"}, typing.get_type_hints(Model), where)
    if name in models.BUILTIN:
        return replace(models.BUILTIN[name], **values)
    return Model(**{"name": name, "model": "", **values})


def _check_repository(value: str, where: str) -> None:
    parts = value.split("@")[0].split("/")
    if len(parts) != 2 or not all(parts):
        raise BadInput(f"{where} is {value!r}: it should be a Hub id, org/name.")


def _check_whole(recipe: Recipe, where: str) -> None:
    if recipe.base != "toy":
        if not recipe.base:
            raise BadInput(f'{where} names no base model: set base to a Hub id, or to "toy".')
        _check_repository(recipe.base, f"base of {where}")
    for name in recipe.variants:
        variant.get(name)
        model = variant.other(name)
        if model and model.served and not recipe.model(model.served).url:
            raise BadInput(f"The variant {name!r} of {where} has no server (url): name the model itself, org/model.")
    for key, values in (
        ("variants", recipe.variants),
        ("seeds", recipe.seeds),
        ("benchmarks", tuple(b.name for b in recipe.benchmarks)),
    ):
        if not values:
            raise BadInput(f"{key} of {where} is empty: name at least one.")
        if len(set(values)) < len(values):
            raise BadInput(f"{key} of {where} names one twice: {', '.join(map(str, values))}.")
    for name in (*(b.name for b in recipe.benchmarks), recipe.task.name):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise BadInput(f"{name!r} in {where} names files on the Hub: use letters, digits, '.', '_' and '-' only.")
    for source in (*recipe.benchmarks, recipe.task):
        if source.limit < 0:
            raise BadInput(f"limit of {source.name} in {where} is {source.limit}: it should be 0 (all) or more.")
    if invalid := [seed for seed in recipe.seeds if not 0 <= seed < 2**32]:
        raise BadInput(f"seeds of {where} names {invalid[0]}: a seed should be between 0 and 2**32 - 1.")
    if wrong := [share for share in recipe.shares if not 0 <= share < 1 or round(share, 2) != share]:
        raise BadInput(f"shares of {where} names {wrong[0]:g}: a share should be 0 to 0.99 with at most two decimals.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", recipe.org):
        raise BadInput(f"org of {where} is {recipe.org!r}: it should be the name of a Hub user or organisation.")
    if not re.fullmatch(r"[A-Za-z0-9._-]*", recipe.tag):
        raise BadInput(f"tag of {where} is {recipe.tag!r}: use letters, digits, '.', '_' and '-' only.")


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip(' ."'):
        raise BadInput(f"--set {override!r} should be key=value, for example grpo.max_steps=20.")
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    # a name with a dot is quoted, as in TOML: model."llama3.1-70b".url
    *tables, last = (part.strip('"') for part in re.findall(r'"[^"]*"|[^."]+', key.strip()))
    for name in tables:
        inner = data.setdefault(name, {})
        if not isinstance(inner, dict):
            raise BadInput(f"--set {override!r}: {name} is not a table.")
        data = inner
    data[last] = value
