"""What the organisation has on the Hub: its adapters with their results, its personas, the base they share."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pyarrow.parquet
from huggingface_hub import HfApi, ModelInfo, hf_hub_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)

FRESH = 60.0  # seconds that a list is kept: the page follows the Hub, and visitors do not multiply its requests
MOST_ADAPTERS = 200
CONFIG = "adapter_config.json"
TIMEOUT = 15.0
CONTROLS = {"none": "", "helpful": "You are a helpful assistant."}
METRICS = {"worst": "worst persona", "mean": "mean over", "best": "best persona", "none": "without a persona"}
UNREACHABLE = (httpx2.HTTPError, OSError)  # what the client raises when a Hub does not answer, or answers with an error
T = TypeVar("T")


class Refused(Exception):
    """What a visitor asked for cannot be done; the text is a sentence for the page."""


@dataclass(frozen=True)
class Adapter:
    """One adapter of the list; `results` are {benchmark: {metric: value}} as its card tells them."""

    repo: str
    base: str
    results: dict[str, dict[str, float]]

    @property
    def label(self) -> str:
        """Its name, with the PSS and the mean accuracy on the first benchmark."""
        first = next(iter(self.results.values()), {})
        titles = {"pss": "PSS", "mean": "mean"}
        shown = ", ".join(f"{title} {first[key]:.2f}" for key, title in titles.items() if key in first)
        return f"{self.repo} ({shown})" if shown else self.repo


@dataclass(frozen=True)
class Listing:
    """Everything on the page that comes from the Hub; `trouble` is a sentence where something is missing."""

    base: str  # repo, or repo@revision; "" where nothing is known
    adapters: list[Adapter]
    personas: dict[str, str]
    trouble: str = ""


class Catalog:
    """The lists, asked for at most once a minute."""

    def __init__(self, org: str, base: str, api: HfApi | None = None) -> None:
        """`base` (repo or repo@revision) is given by the Space's owner, or "" for the one most adapters have."""
        self._org, self._base, self._api = org, base, api or HfApi(library_name="permix-chat")
        self._lock = threading.Lock()
        self._known: tuple[float, Listing] | None = None

    def listing(self) -> Listing:
        """The list of this minute; what was known before stays when the Hub does not answer."""
        with self._lock:
            if self._known and time.monotonic() - self._known[0] < FRESH and not self._known[1].trouble:
                return self._known[1]
            found = self._ask()
            if found.trouble and self._known and self._known[1].adapters:
                old = self._known[1]
                return Listing(old.base, old.adapters, old.personas, found.trouble)
            self._known = (time.monotonic(), found)
            return found

    def _ask(self) -> Listing:
        try:
            personas = self._personas()  # first: the client tries lists again for half a minute when no Hub answers
            adapters = self._adapters()
            base = self._base or self._shared_base(adapters)
        except UNREACHABLE as error:
            return Listing(self._base, [], dict(CONTROLS), f"The lists could not be read: {why(error)}")
        name = base.partition("@")[0]
        fitting = [adapter for adapter in adapters if adapter.base == name]
        if not base:
            return Listing("", [], personas, f"{self._org} has published no adapter yet.")
        return Listing(base, fitting, personas)

    def _adapters(self) -> list[Adapter]:
        names = [m.id for m in self._api.list_models(author=self._org, filter="peft", limit=MOST_ADAPTERS)]
        with ThreadPoolExecutor(8) as pool:
            infos = list(pool.map(lambda name: self._api.model_info(name, timeout=TIMEOUT), sorted(names)))
        return [Adapter(i.id, _base_of(i), _results(i)) for i in infos]

    def _shared_base(self, adapters: list[Adapter]) -> str:
        """The base of most adapters, at the revision that the first of them names."""
        named = Counter(adapter.base for adapter in adapters if adapter.base)
        if not named:
            return ""
        base = named.most_common(1)[0][0]
        first = next(adapter.repo for adapter in adapters if adapter.base == base)
        try:
            revision = config_of(first, None).get("revision")
        except Refused:
            revision = None
        return f"{base}@{revision}" if revision else base

    def _personas(self) -> dict[str, str]:
        repo = f"{self._org}/permix-personas"
        found = dict(CONTROLS)
        try:
            files = self._api.dataset_info(repo, timeout=TIMEOUT).siblings or []
        except RepositoryNotFoundError:
            return found
        for path in sorted(file.rfilename for file in files):
            if path.startswith("data/") and path.endswith(".parquet"):
                table = pyarrow.parquet.read_table(hf_hub_download(repo, path, repo_type="dataset"))
                found |= {row["key"]: row["system_prompt"] for row in table.to_pylist()}
        return found


def config_of(repo: str, revision: str | None) -> dict[str, Any]:
    """An adapter's adapter_config.json; Refused where the repository has none that can be read."""
    path = asked(repo, lambda: hf_hub_download(repo, CONFIG, revision=revision))
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise Refused(f"{repo} has an adapter_config.json that is no JSON object: save the adapter again with peft.")
    return config


def asked(repo: str, ask: Callable[[], T]) -> T:
    """What `ask` finds of the repository on the Hub; Refused with the reason where it finds nothing."""
    try:
        return ask()
    except HFValidationError:
        raise Refused(f"{repo[:100]!r} is no name of a repository: write org/name.") from None
    except RemoteEntryNotFoundError:
        raise Refused(f"{repo} is no adapter: it has no adapter_config.json or adapter_model.safetensors.") from None
    except RepositoryNotFoundError:
        raise Refused(f"There is no {repo} on the Hub, or it is private: check the name.") from None
    except UNREACHABLE as error:
        raise Refused(f"{repo} could not be read: {why(error)}") from None


def why(error: BaseException) -> str:
    """One sentence about a failed request, without addresses and headers."""
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return f"the Hub answered {error.response.status_code}. Try again in a minute."
    return "the Hub does not answer. Try again in a minute."


def _base_of(info: ModelInfo) -> str:
    base = info.card_data.get("base_model") if info.card_data else None
    return str(base[0] if isinstance(base, list) and base else base or "")


def _results(info: ModelInfo) -> dict[str, dict[str, float]]:
    """{benchmark: {metric: value}} of the card's model-index, by the names that permix gives its metrics."""
    card = info.card_data.to_dict() if info.card_data else {}
    found: dict[str, dict[str, float]] = {}
    for model in info.model_index or card.get("model-index") or []:
        for result in model["results"]:
            values = found.setdefault(str(result["dataset"].get("config") or result["dataset"]["name"]), {})
            for metric in result["metrics"]:
                named = next((key for key, words in METRICS.items() if words in str(metric.get("name"))), None)
                key = "pss" if str(metric["type"]).endswith("/pss") else named
                if key and isinstance(metric["value"], int | float):
                    values[key] = float(metric["value"])
    return found
