"""A card is the README.md of an artifact: YAML metadata for the Hub and a page for people, from its run record.

The text comes from hub_cards/, one Jinja template per kind of artifact. The metadata is written here, because it has
values that a user chose, and only a YAML writer quotes them correctly.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from permix import files
from permix.errors import BadInput, nearest
from permix.paper import variants
from permix.publishing import licence, model_index, templates
from permix.results.reporting import tabular

Record = Mapping[str, Any]
PAPER = "arxiv:2604.08986"
_PARQUET = re.compile(r"data/(?:(?P<config>[^/]+)/)?(?P<split>[^/]+?)-\d{5}-of-\d{5}\.parquet")
_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}


def render(card: str, record: Record, results: Mapping[str, Any] | None = None) -> str:
    """Return the whole README.md of the artifact that `record` (its run.json) describes.

    `card` is a template hub_cards/<card>.md, or BadInput. `results` are those of stage tables for an adapter: {"rows":
    [{"benchmark", "metric", "value", "low", "high", "sweep": "datasets/org/name@sha"}], "note"}.
    """
    known = [page.stem for page in files.CARDS.glob("[a-z]*.md")]
    if card not in known:
        raise BadInput(f"There is no card {card!r} in hub_cards: {nearest(card, known)}")
    measured = results or {}
    values = _values(card, record, list(measured.get("rows", ()))) | {"note": measured.get("note", "")}
    head = yaml.safe_dump(_metadata(card, values), sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{head}---\n\n{templates.render(card, **values).strip()}\n"


def is_toy(record: Record) -> bool:
    """Return whether the artifact belongs to the toy world, whose design sets the size of each effect."""
    config = record["config"]
    names = [record["target"], *(source["repo"] for source in record["inputs"].values())]
    tasks = [config["task"]] if config.get("task") else config.get("benchmarks") or ()
    modules = [part.get("module") for part in tasks if isinstance(part, Mapping)]
    return bool(config.get("toy")) or any("/permix-toy" in name for name in names) or "arithmetic" in modules


def is_english(record: Record) -> bool:
    """Return whether the texts are known to be English, as the paper's personas are."""
    pool = record["target"] if record["stage"] == "personas" else record["inputs"].get("personas", {}).get("repo")
    ours = pool is None or pool.partition("@")[0].endswith("/permix-personas")
    return ours and record["stage"] != "import" and bool(record.get("language", "en"))


def configs(paths: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the `configs:` of a dataset: only parquet files under data/, so that run.json is never read as data."""
    by_name: dict[str, dict[str, str]] = {}
    for path in sorted(paths):
        if match := _PARQUET.fullmatch(path):
            config, split = match["config"], match["split"]
            folder = f"data/{config}" if config else "data"
            by_name.setdefault(config or "default", {})[split] = f"{folder}/{split}-*.parquet"
    listed = []
    for name, splits in sorted(by_name.items()):
        order = sorted(splits, key=lambda split: (split != "train", split))
        listed.append({"config_name": name, "data_files": [{"split": split, "path": splits[split]} for split in order]})
    return listed


def _values(card: str, record: Record, rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    repo, toy = record["target"].removeprefix("datasets/").removeprefix("spaces/"), is_toy(record)
    name, writer = str(record["config"].get("variant", "")), record["config"].get("writer") or {}
    row = variants.VARIANTS.get(name) or variants.Variant(name, name, "none")
    repos = {name: source["repo"] for name, source in record["inputs"].items()}
    if record["stage"] == "import":
        repos["base"] = record["config"]["variant"]  # not an artifact of the Hub, but its terms hold
    elif record["config"].get("variant") == "served":
        repos["base"] = record["config"]["base"]  # likewise
    # the name of a personas dataset decides whose texts the pools are
    sources = repos | ({"personas": record["target"]} if record["stage"] == "personas" else {})
    own = {source["repo"].partition("@")[0]: source for source in record["inputs"].values() if source.get("license")}
    return {
        "record": record,
        "repo": repo,
        "org": repo.split("/")[0],
        "variant": row,
        "toy": toy,
        "licence": licence.of(card, toy=toy, variant=row, inputs=sources, writer=str(writer.get("model", "")), own=own),
        "base": record["inputs"].get("base"),
        "trained_on": [record["inputs"]["mixture"]["repo"]] if "mixture" in record["inputs"] else [],
        "results": rows,
        "settings": sorted(_flat({k: v for k, v in record["config"].items() if k not in ("org", "tag")})),
        "facts": sorted(_flat(record["facts"])),
        "sweep": _summary(record),
        "configs": configs(record["files"]),
        "printed": _printed(record) if card == "tables" else "",
    }


def _metadata(card: str, values: dict[str, Any]) -> dict[str, Any]:
    record: Record = values["record"]
    terms: licence.Licence = values["licence"]
    head: dict[str, Any] = {"license": terms.ids[0] if len(terms.ids) == 1 else list(terms.ids)}
    if terms.name:
        head |= {"license_name": terms.name} | ({"license_link": terms.link} if terms.link else {})
    head |= {"language": "en"} if is_english(record) else {}
    is_dataset = record["target"].startswith("datasets/")
    return head | (_dataset(card, values) if is_dataset else _model(card, values))


_TAGS = {
    "personas": ["system-prompt", "role-play"],
    "teacher": ["distillation"],
    "rewrites": ["style-transfer"],
    "sweep": ["evaluation", "robustness"],
    "questions": ["evaluation", "role-play"],
    "personagym": ["evaluation", "role-play"],
    "preference": ["evaluation", "role-play", "rlvr"],
    "tables": ["evaluation", "robustness", "rlvr"],
}


def _method(row: variants.Variant) -> list[str]:
    trained = {"sft": ["sft"], "grpo": ["grpo", "rlvr"]}.get(row.trainer, [])
    return [*trained, *(["distillation"] if row.target == "teacher" else [])]


def _dataset(card: str, values: dict[str, Any]) -> dict[str, Any]:
    record: Record = values["record"]
    size = next((name for limit, name in _SIZES.items() if 0 < _count(record) < limit), None)
    head: dict[str, Any] = {
        "pretty_name": values["repo"].split("/")[1],
        "task_categories": ["text-generation"],
        **({"size_categories": [size]} if size else {}),
        "tags": ["permix", "persona", PAPER, *_TAGS.get(card, []), *_method(values["variant"])],
        "configs": [dict(config) for config in values["configs"]],
    }
    for config in head["configs"]:
        if card == "tables" and config["config_name"] == "ours":
            config["default"] = True
    return head


def _count(record: Record) -> int:
    facts = record["facts"]
    if sweep := _summary(record):
        return sum(part["problems"] * part["runs"] * len(part["accuracy"]) for part in sweep["benchmarks"].values())
    return int(facts.get("rows") or facts.get("train", 0) + facts.get("eval", 0))


def _summary(record: Record) -> dict[str, Any]:
    return dict(record["facts"].get("summary") or {}) if record["stage"] in ("sweep", "import") else {}


def _model(card: str, values: dict[str, Any]) -> dict[str, Any]:
    if card == "base":
        tags = ["permix", "persona", "toy", PAPER]
        return {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": tags}
    if card == "export":
        return _exported(values)
    base, shared = values["base"], ["permix", "persona", PAPER, *_method(values["variant"])]
    head: dict[str, Any] = {
        "base_model": base["repo"],
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "datasets": [name.removeprefix("datasets/") for name in values["trained_on"]],
        "metrics": ["accuracy", f"{values['org']}/pss"],
        "tags": [*shared, "lora", "trl", f"base_model:adapter:{base['repo']}"],
    }
    if index := list(model_index.entries(values["org"], values["results"])):
        head["model-index"] = [{"name": values["repo"].split("/")[1], "results": index}]
    return head


def _exported(values: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of an export. The Hub's "merge" is for several models, so a merged adapter is a fine-tune."""
    config, adapter = values["record"]["config"], values["record"]["inputs"]["adapter"]["repo"]
    merged = config["format"] == "merged"
    return {
        "base_model": values["base"]["repo"] if merged else adapter,
        "base_model_relation": "finetune" if merged else "quantized",
        "library_name": "transformers" if merged else "gguf",
        "pipeline_tag": "text-generation",
        "tags": ["permix", "persona", PAPER, *_method(values["variant"]), *([] if merged else ["gguf"])],
    }


def _printed(record: Record) -> str:
    """Return the tables of stage tables as Markdown, with verdicts and legend."""
    facts = record["facts"]
    blocks = [f"### {templates.cell(name)}\n\n{tabular.as_markdown(rows)}" for name, rows in facts["tables"].items()]
    return "\n".join([*blocks, tabular.claims_as_markdown(facts["claims"]), tabular.legend(facts, tabular.PAGE)])


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple) and value and all(isinstance(v, Mapping) for v in value):
            for number, inner in enumerate(value):
                yield from _flat(inner, f"{prefix}{key}.{inner.get('name', number)}.")
        else:
            yield prefix + key, value
