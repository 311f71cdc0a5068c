"""A card is the README.md of an artifact: YAML metadata for the Hub and a page for people, both from its run record.

The text lies in hub_cards/, one Jinja template per kind of artifact; the metadata is put together here, because values
that a user chose go into it and only a YAML writer quotes them right.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2
import yaml

from permix import files
from permix.errors import BadInput, nearest
from permix.paper import variants
from permix.publishing import hub, licence
from permix.results.claims import verdicts
from permix.results.reporting import tabular

Record = Mapping[str, Any]
PAPER = "arxiv:2604.08986"
_PARQUET = re.compile(r"data/(?:(?P<config>[^/]+)/)?(?P<split>[^/]+?)-\d{5}-of-\d{5}\.parquet")
_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}


def render(card: str, record: Record, results: Mapping[str, Any] | None = None) -> str:
    """Return the whole README.md of the artifact that `record` (its run.json) describes.

    `card` names the template hub_cards/<card>.md. `results`, for adapters: {"rows": [{"benchmark", "metric", "value",
    "low", "high", "sweep": "datasets/org/name@sha"}], "note": what to know of them}, as stage tables makes them. Raises
    BadInput for an unknown card.
    """
    known = [page.stem for page in files.CARDS.glob("[a-z]*.md")]
    if card not in known:
        raise BadInput(f"There is no card {card!r} in hub_cards: {nearest(card, known)}")
    measured = results or {}
    values = _values(card, record, list(measured.get("rows", ()))) | {"note": measured.get("note", "")}
    head = yaml.safe_dump(_metadata(card, values), sort_keys=False, allow_unicode=True, width=1000)
    body = _environment().get_template(f"{card}.md").render(**values)
    return f"---\n{head}---\n\n{body.strip()}\n"


def is_toy(record: Record) -> bool:
    """True for an artifact of the toy world: its numbers follow from how that world was designed."""
    config = record["config"]
    names = [record["target"], *(source["repo"] for source in record["inputs"].values())]
    tasks = [config["task"]] if config.get("task") else config.get("benchmarks") or ()
    modules = [part.get("module") for part in tasks if isinstance(part, Mapping)]
    return bool(config.get("toy")) or any("/permix-toy" in name for name in names) or "arithmetic" in modules


def configs(paths: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The `configs:` of a dataset with these files: parquet under data/ alone, so run.json is never read as data."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(paths):
        if match := _PARQUET.fullmatch(path):
            config, split = match["config"], match["split"]
            folder = f"data/{config}" if config else "data"
            found.setdefault(config or "default", {})[split] = f"{folder}/{split}-*.parquet"
    listed = []
    for name, splits in sorted(found.items()):
        order = sorted(splits, key=lambda split: (split != "train", split))
        listed.append({"config_name": name, "data_files": [{"split": split, "path": splits[split]} for split in order]})
    return listed


def _row(record: Record) -> variants.Variant:
    name = str(record["config"].get("variant", ""))
    return variants.VARIANTS.get(name) or variants.Variant(name, name, "none")


def _values(card: str, record: Record, rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    repo, row, toy = record["target"].removeprefix("datasets/").removeprefix("spaces/"), _row(record), is_toy(record)
    repos = {name: source["repo"] for name, source in record["inputs"].items()}
    if record["stage"] == "import":
        repos["base"] = record["config"]["variant"]  # no artifact that could be fetched, but its terms hold
    elif record["config"].get("variant") == "served":
        repos["base"] = record["config"]["base"]  # likewise
    # whose texts pools are is told by the name under which they are published
    asked = repos | ({"personas": record["target"]} if record["stage"] == "personas" else {})
    return {
        "record": record,
        "repo": repo,
        "org": repo.split("/")[0],
        "variant": row,
        "toy": toy,
        "licence": licence.of(card, toy=toy, variant=row, inputs=asked, writer=_writer(record)),
        "base": record["inputs"].get("base"),
        "trained_on": [record["inputs"]["mixture"]["repo"]] if "mixture" in record["inputs"] else [],
        "results": rows,
        "settings": sorted(_flat({k: v for k, v in record["config"].items() if k not in ("org", "tag")})),
        "facts": sorted(_flat(record["facts"])),
        "sweep": _summary(record),
        "configs": configs(record["files"]),
        "printed": _printed(record) if card == "tables" else "",
    }


def _writer(record: Record) -> str:
    """The model that wrote the artifact's texts, where its settings name one."""
    return str((record["config"].get("writer") or {}).get("model", ""))


def _metadata(card: str, values: dict[str, Any]) -> dict[str, Any]:
    record: Record = values["record"]
    terms: licence.Licence = values["licence"]
    head: dict[str, Any] = {"license": terms.ids[0] if len(terms.ids) == 1 else list(terms.ids)}
    if terms.name:
        head |= {"license_name": terms.name} | ({"license_link": terms.link} if terms.link else {})
    head["language"] = "en"
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
    """Tags of how a variant is trained."""
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
    if card == "tables":
        for config in head["configs"]:
            if config["config_name"] == "ours":
                config["default"] = True
    return head


def _count(record: Record) -> int:
    """How many rows the dataset has, as its facts say; 0 where they do not."""
    facts = record["facts"]
    if sweep := _summary(record):
        return sum(found["problems"] * found["runs"] * len(found["accuracy"]) for found in sweep["benchmarks"].values())
    return int(facts.get("rows") or facts.get("train", 0) + facts.get("eval", 0))


def _summary(record: Record) -> dict[str, Any]:
    """What a sweep found, {} for other stages."""
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
    if index := list(_index(values["org"], values["results"])):
        head["model-index"] = [{"name": values["repo"].split("/")[1], "results": index}]
    return head


def _exported(values: dict[str, Any]) -> dict[str, Any]:
    """The Hub says "merge" for several models only, so base and adapter in one are a fine-tune of the base."""
    config, adapter = values["record"]["config"], values["record"]["inputs"]["adapter"]["repo"]
    merged = config["format"] == "merged"
    return {
        "base_model": values["base"]["repo"] if merged else adapter,
        "base_model_relation": "finetune" if merged else "quantized",
        "library_name": "transformers" if merged else "gguf",
        "pipeline_tag": "text-generation",
        "tags": ["permix", "persona", PAPER, *_method(values["variant"]), *([] if merged else ["gguf"])],
    }


_METRICS = {
    "worst": "accuracy, worst persona",
    "best": "accuracy, best persona",
    "mean": "accuracy, mean over personas",
    "pss": "PSS: worst / best persona",
    "none": "accuracy without a persona",
}


def results_on(card: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A card that somebody else wrote, with these results in its metadata and in a section at its end.

    Other results stay; those of earlier sweeps in the same repositories go. Raises ValueError for metadata that are no
    YAML.
    """
    from huggingface_hub import RepoCard

    org = hub.split(rows[0]["sweep"])[1].partition("/")[0]
    sweeps = {hub.split(row["sweep"])[1] for row in rows}
    page = RepoCard(card if card.startswith("---") else f"---\n{{}}\n---\n\n{card}", ignore_metadata_errors=False)
    metadata = dict(vars(page.data))
    stored = metadata.get("model-index")
    models = [model for model in stored if isinstance(model, dict)] if isinstance(stored, list) else []
    others = [entry for model in models for entry in model.get("results") or []]
    kept = [entry for entry in others if (entry.get("dataset") or {}).get("type") not in sweeps]
    name = next((model["name"] for model in models if "name" in model), "adapter")
    metadata["model-index"] = [{"name": name, "results": [*kept, *_index(org, rows)]}]
    head = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=1000)
    table = _environment().get_template("_results.md").render(results=rows, note="")
    begin, end = _MARKS
    body = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", "", page.text, flags=re.DOTALL).strip()
    return f"---\n{head}---\n\n{body}\n\n{begin}\n## Under system personas\n\n{table.strip()}\n{end}\n"


_MARKS = ("<!-- permix: results -->", "<!-- permix: end of results -->")


def _index(org: str, results: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for benchmark in dict.fromkeys(row["benchmark"] for row in results):
        rows = [row for row in results if row["benchmark"] == benchmark and row["value"] is not None]
        found = {row["metric"]: row["value"] for row in rows}
        kinds = {"pss": f"{org}/pss"}
        metrics = [
            {"type": kinds.get(m, "accuracy"), "name": n, "value": found[m]} for m, n in _METRICS.items() if m in found
        ]
        sweep, _, revision = rows[0]["sweep"].removeprefix("datasets/").partition("@")
        dataset = {"type": sweep, "name": f"{benchmark} under the evaluation personas", "config": benchmark}
        dataset |= {"split": "test", "revision": revision}
        yield {"task": {"type": "text-generation"}, "dataset": dataset, "metrics": metrics}


def _printed(record: Record) -> str:
    """The tables of stage tables as Markdown, with what they show."""
    blocks = [f"### {_cell(name)}\n\n{tabular.as_markdown(lines)}" for name, lines in record["facts"]["tables"].items()]
    return "\n".join(
        [*blocks, tabular.claims_as_markdown(record["facts"]["claims"]), tabular.legend(record["facts"], tabular.PAGE)]
    )


def _flat(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a nested table as ("a.b", value)."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        elif isinstance(value, list | tuple) and value and all(isinstance(v, Mapping) for v in value):
            for number, inner in enumerate(value):
                yield from _flat(inner, f"{above}{key}.{inner.get('name', number)}.")
        else:
            yield above + key, value


def _cell(value: Any) -> str:
    """A value for one cell of a Markdown table."""
    if value is None or value == "" or value != value:
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _ranged(found: Mapping[str, Any], name: str = "mean") -> str:
    """A number with its interval, where it has one."""
    if found[name] is None:
        return "–"
    ends = f" ({found['low']:.2f} to {found['high']:.2f})" if found["low"] is not None else ""
    return f"{found[name]:.2f}{ends}"


def _link(source: Mapping[str, Any]) -> str:
    """An input as a link to the very commit; relative to the Hub, so that it works on any."""
    return f"[`{source['repo']}@{source['revision'][:8]}`](/{source['repo']}/tree/{source['revision']})"


def _environment() -> jinja2.Environment:
    found = jinja2.Environment(  # noqa: S701 - the page is Markdown, which the Hub sanitises
        loader=jinja2.FileSystemLoader(files.CARDS),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.globals |= {"verdicts": verdicts}
    found.filters |= {
        "cell": _cell,
        "link": _link,
        "ranged": _ranged,
        "quoted": lambda value: json.dumps(value, ensure_ascii=False),
    }
    return found
