"""Does everything that was published still load with the libraries of today, and do its numbers still follow?"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permix import stages
from permix.automation.ci import github
from permix.errors import PermixError
from permix.publishing.hub import Artifact, RepositoryState

if TYPE_CHECKING:
    from permix.publishing.hub import Hub


def published(hub: "Hub", org: str) -> list[Artifact]:
    """Everything of permix that the organisation has on the Hub."""
    with hub.sentences(f"list what {org} has published"):
        names = [found.id for found in hub.api.list_models(author=org)]
        names += [f"datasets/{found.id}" for found in hub.api.list_datasets(author=org)]
        names += [f"spaces/{found.id}" for found in hub.api.list_spaces(author=org)]
    states = [hub.state(name) for name in sorted(names)]
    return [state for state in states if isinstance(state, Artifact)]


def check(artifact: Artifact, hub: "Hub") -> str:
    """Load an artifact with the stock libraries and recompute its numbers; return what was done."""
    done = load(artifact, hub)
    if not stages.get(artifact.record["stage"]).replay:
        return done
    github.permix("verify", f"{artifact.repo}@{artifact.sha}", "--hub", hub.endpoint)
    return f"{done}, verified"


def load(repository: RepositoryState, hub: "Hub") -> str:
    """Load a repository with the stock libraries; return what was done, or raise PermixError with their error."""
    folder = hub.fetch(repository)
    loader = next((loader for name, loader in _LOADERS.items() if _has(repository, name)), None)
    if loader is None:
        return "downloaded whole"
    try:
        return f"downloaded whole, {loader(folder, hub)}"
    except Exception as error:  # a library may raise anything
        raise PermixError(f"{repository.repo} no longer loads: {type(error).__name__}: {error}") from None


def _dataset(folder: Path, hub: "Hub") -> str:
    """Every configuration, as `load_dataset` finds it by the card."""
    import datasets

    found = datasets.get_dataset_config_names(str(folder))
    rows = 0
    for config in found:
        loaded = datasets.load_dataset(str(folder), config)
        rows += sum(len(split) for split in loaded.values())
    return f"{rows} rows in {len(found)} configurations"


def _adapter(folder: Path, hub: "Hub") -> str:
    """Its configuration, tokenizer, and every tensor in the place that peft makes for it on a base without weights."""
    import peft
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = peft.PeftConfig.from_pretrained(folder)
    base = hub.state(f"{config.base_model_name_or_path}{f'@{config.revision}' if config.revision else ''}")
    if base is None:
        raise PermixError(f"its base {config.base_model_name_or_path} is gone")
    # peft looks into the base's config.json by itself, so the base is the folder that was fetched.
    config.base_model_name_or_path = str(hub.download(f"{base.repo}@{base.sha}", "config.json").parent)
    of_base = AutoConfig.from_pretrained(config.base_model_name_or_path)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(of_base)
        empty.name_or_path = config.base_model_name_or_path  # peft warns of a base that seems to be another
        model = peft.get_peft_model(empty, config)
    if (folder / "tokenizer_config.json").is_file():
        AutoTokenizer.from_pretrained(folder)
    wanted = {name: weight.shape for name, weight in peft.get_peft_model_state_dict(model).items()}
    stored = {name: weight.shape for name, weight in peft.load_peft_weights(str(folder), device="cpu").items()}
    if odd := {name for name in wanted | stored if wanted.get(name) != stored.get(name)}:
        raise PermixError(f"the base has no place for {min(odd)}")
    return f"{len(stored)} tensors fit the base"


def _model(folder: Path, hub: "Hub") -> str:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    return f"{sum(weight.numel() for weight in model.parameters())} weights"


def _metric(folder: Path, hub: "Hub") -> str:
    """`evaluate` loads and computes it."""
    import evaluate

    found = evaluate.load(str(folder / "pss.py")).compute(scores=[1, 1, 0, 1], personas=["a", "a", "b", "b"])
    return f"PSS {found['pss']}"


def _space(folder: Path, hub: "Hub") -> str:
    """Its pages are Python of today; what it imports is installed on the Hub alone."""
    pages = sorted(folder.rglob("*.py"))
    for path in pages:
        compile(path.read_text(encoding="utf-8"), path.name, "exec")
    return f"{len(pages)} pages compile"


_LOADERS: dict[str, Callable[[Path, "Hub"], str]] = {
    "adapter_config.json": _adapter,
    "model.safetensors": _model,
    "model.safetensors.index.json": _model,
    "pss.py": _metric,
    "app.py": _space,
    "data/": _dataset,
}
"""What loads a repository that has this file (or, with /, this folder)."""


def _has(repository: RepositoryState, name: str) -> bool:
    return any(path.startswith(name) if name.endswith("/") else path == name for path in repository.files)


def rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """For a table: each repository, and what was done with it or what is wrong."""
    return [
        {"artifact": repo, "state": "broken" if isinstance(said, PermixError) else "ok", "what": str(said)}
        for repo, said in results.items()
    ]
