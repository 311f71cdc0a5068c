"""The adapters of an organisation with their results, its personas, and the base model that they share."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow.parquet
from huggingface_hub import HfApi, ModelInfo, hf_hub_download
from huggingface_hub.errors import RepositoryNotFoundError
from models import METRICS, TIMEOUT, UNREACHABLE, Refused, config_of, reason

FRESH = 60.0  # seconds that a listing is used: visitors do not multiply the requests to the Hub
MOST_ADAPTERS = 200
CONTROLS = {"none": "", "helpful": "You are a helpful assistant."}


@dataclass(frozen=True)
class Adapter:
    """An adapter of the list; `results` are the {benchmark: {metric: value}} on its card."""

    repo: str
    base: str
    results: dict[str, dict[str, float]]

    @property
    def label(self) -> str:
        """Its name, with PSS and mean accuracy on the first benchmark."""
        first = next(iter(self.results.values()), {})
        titles = {"pss": "PSS", "mean": "mean"}
        numbers = ", ".join(f"{title} {first[key]:.2f}" for key, title in titles.items() if key in first)
        return f"{self.repo} ({numbers})" if numbers else self.repo


@dataclass(frozen=True)
class Listing:
    """Everything on the page that comes from the Hub; `trouble` is a sentence about what is missing."""

    base: str  # repo, or repo@revision; "" if unknown
    adapters: list[Adapter]
    personas: dict[str, str]
    trouble: str = ""


class Catalog:
    """The listing of one organisation, read at most once a minute."""

    def __init__(self, org: str, base: str, api: HfApi | None = None) -> None:
        """`base` (repo or repo@revision) is set by the Space's owner; "" selects the base of most adapters."""
        self._org, self._base, self._api = org, base, api or HfApi(library_name="permix-chat")
        self._lock = threading.Lock()
        self._known: tuple[float, Listing] | None = None

    def listing(self) -> Listing:
        """Return the listing of this minute, or the last good one when the Hub does not answer."""
        with self._lock:
            if self._known and time.monotonic() - self._known[0] < FRESH and not self._known[1].trouble:
                return self._known[1]
            listing = self._read()
            if listing.trouble and self._known and self._known[1].adapters:
                old = self._known[1]
                return Listing(old.base, old.adapters, old.personas, listing.trouble)
            self._known = (time.monotonic(), listing)
            return listing

    def _read(self) -> Listing:
        try:
            personas = self._personas()  # first: the client retries lists for half a minute when no Hub answers
            adapters = self._adapters()
            base = self._base or self._shared_base(adapters)
        except UNREACHABLE as error:
            return Listing(self._base, [], dict(CONTROLS), f"The lists could not be read: {reason(error)}")
        name = base.partition("@")[0]
        fitting = [adapter for adapter in adapters if adapter.base == name]
        if not base:
            return Listing("", [], personas, f"{self._org} has not published an adapter yet.")
        return Listing(base, fitting, personas)

    def _adapters(self) -> list[Adapter]:
        names = [m.id for m in self._api.list_models(author=self._org, filter="peft", limit=MOST_ADAPTERS)]
        with ThreadPoolExecutor(8) as pool:
            infos = list(pool.map(lambda name: self._api.model_info(name, timeout=TIMEOUT), sorted(names)))
        return [Adapter(i.id, _base_of(i), _results(i)) for i in infos]

    def _shared_base(self, adapters: list[Adapter]) -> str:
        """Return the base of most adapters, at the revision that the first of them names."""
        counts = Counter(adapter.base for adapter in adapters if adapter.base)
        if not counts:
            return ""
        base = counts.most_common(1)[0][0]
        first = next(adapter.repo for adapter in adapters if adapter.base == base)
        try:
            revision = config_of(first, None).get("revision")
        except Refused:
            revision = None
        return f"{base}@{revision}" if revision else base

    def _personas(self) -> dict[str, str]:
        repo = f"{self._org}/permix-personas"
        personas = dict(CONTROLS)
        try:
            files = self._api.dataset_info(repo, timeout=TIMEOUT).siblings or []
        except RepositoryNotFoundError:
            return personas
        for path in sorted(file.rfilename for file in files):
            if path.startswith("data/") and path.endswith(".parquet"):
                table = pyarrow.parquet.read_table(hf_hub_download(repo, path, repo_type="dataset"))
                personas |= {row["key"]: row["system_prompt"] for row in table.to_pylist()}
        return personas


def _base_of(info: ModelInfo) -> str:
    base = info.card_data.get("base_model") if info.card_data else None
    return str(base[0] if isinstance(base, list) and base else base or "")


def _results(info: ModelInfo) -> dict[str, dict[str, float]]:
    """{benchmark: {metric: value}} of the model-index on the card, for the metrics that permix writes."""
    card = info.card_data.to_dict() if info.card_data else {}
    keys = {name: key for key, name in METRICS.items()}
    results: dict[str, dict[str, float]] = {}
    for model in info.model_index or card.get("model-index") or []:
        for result in model["results"]:
            values = results.setdefault(str(result["dataset"].get("config") or result["dataset"]["name"]), {})
            for metric in result["metrics"]:
                key = keys.get(str(metric.get("name")))
                if key and isinstance(metric["value"], int | float):
                    values[key] = float(metric["value"])
    return results
