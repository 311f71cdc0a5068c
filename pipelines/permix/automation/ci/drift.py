"""Check whether everything that was published still loads with today's libraries and still verifies."""

from collections.abc import Callable, Mapping
from pathlib import Path

from permix import stages
from permix.automation.ci import github
from permix.errors import PermixError
from permix.publishing.hub import Artifact, Hub, RepositoryState


def published(hub: Hub, org: str) -> list[Artifact]:
    """Return every artifact of permix that the organisation has on the Hub."""
    return [artifact for name in sorted(hub.repositories(org)) if (artifact := hub.artifact(name))]


def check(artifact: Artifact, hub: Hub) -> str:
    """Load an artifact with the stock libraries and recompute its numbers; return what was done."""
    done = load(artifact, hub)
    if not stages.get(artifact.record["stage"]).replay:
        return done
    github.permix("verify", f"{artifact.repo}@{artifact.sha}", "--hub", hub.endpoint)
    return f"{done}, verified"


def load(repository: RepositoryState, hub: Hub) -> str:
    """Load a repository with the stock libraries; return what was done, or raise PermixError with their error."""
    folder = hub.fetch(repository)
    loader = next((loader for name, loader in _LOADERS.items() if _has(repository, name)), None)
    if loader is None:
        return "downloaded whole"
    try:
        return f"downloaded whole, {loader(folder, hub)}"
    except Exception as error:  # a library may raise anything
        raise PermixError(f"{repository.repo} no longer loads: {type(error).__name__}: {error}") from None


def _dataset(folder: Path, hub: Hub) -> str:
    import datasets

    configs = datasets.get_dataset_config_names(str(folder))
    splits = [split for config in configs for split in datasets.load_dataset(str(folder), config).values()]
    return f"{sum(map(len, splits))} rows in {len(configs)} configurations"


def _adapter(folder: Path, hub: Hub) -> str:
    """Load configuration and tokenizer, and compare every tensor with the one that peft makes for the base."""
    import peft
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = peft.PeftConfig.from_pretrained(folder)
    base = hub.state(f"{config.base_model_name_or_path}{f'@{config.revision}' if config.revision else ''}")
    if base is None:
        raise PermixError(f"its base {config.base_model_name_or_path} is gone")
    # peft reads the base's config.json by itself, so the base is the folder that was fetched.
    config.base_model_name_or_path = str(hub.download(f"{base.repo}@{base.sha}", "config.json").parent)
    base_config = AutoConfig.from_pretrained(config.base_model_name_or_path)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(base_config)
        empty.name_or_path = config.base_model_name_or_path  # peft warns of a base that seems to be another
        model = peft.get_peft_model(empty, config)
    if (folder / "tokenizer_config.json").is_file():
        AutoTokenizer.from_pretrained(folder)
    expected = {name: weight.shape for name, weight in peft.get_peft_model_state_dict(model).items()}
    stored = {name: weight.shape for name, weight in peft.load_peft_weights(str(folder), device="cpu").items()}
    if misfits := {name for name in expected | stored if expected.get(name) != stored.get(name)}:
        raise PermixError(f"the base has no place for {min(misfits)}")
    return f"{len(stored)} tensors fit the base"


def _model(folder: Path, hub: Hub) -> str:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    return f"{sum(weight.numel() for weight in model.parameters())} weights"


def _metric(folder: Path, hub: Hub) -> str:
    import evaluate

    metric = evaluate.load(str(folder / "pss.py"))
    return f"PSS {metric.compute(scores=[1, 1, 0, 1], personas=['a', 'a', 'b', 'b'])['pss']}"


def _space(folder: Path, hub: Hub) -> str:
    """Compile the pages; the packages that they import are installed on the Hub only."""
    pages = sorted(folder.rglob("*.py"))
    for path in pages:
        compile(path.read_text(encoding="utf-8"), path.name, "exec")
    return f"{len(pages)} pages compile"


_LOADERS: dict[str, Callable[[Path, Hub], str]] = {
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


def rows(outcomes: Mapping[str, str | PermixError]) -> list[dict[str, str]]:
    """Return a table's rows: each repository, and what was done with it or what is wrong."""
    states = {repo: "broken" if isinstance(outcome, PermixError) else "ok" for repo, outcome in outcomes.items()}
    return [{"artifact": repo, "state": states[repo], "what": str(outcome)} for repo, outcome in outcomes.items()]
