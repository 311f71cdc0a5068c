"""Read models of the Hub for a visitor: every failure is one sentence. The publisher copies this file into Spaces."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from huggingface_hub import HfApi, ModelInfo, hf_hub_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)

ORG = os.environ.get("PERMIX_ORG") or os.environ.get("SPACE_ID", "permix/").partition("/")[0]
CONFIG, MOST_CONFIG = "adapter_config.json", 1_000_000  # bytes
TIMEOUT = 15.0  # seconds
METRICS = {  # the names on the cards that permix writes
    "worst": "accuracy, worst persona",
    "best": "accuracy, best persona",
    "mean": "accuracy, mean over personas",
    "pss": "PSS: worst / best persona",
    "none": "accuracy without a persona",
}
UNREACHABLE = (httpx2.HTTPError, OSError)  # raised by the client when a Hub fails or does not answer
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_T = TypeVar("_T")


class Refused(Exception):
    """A request that cannot be served; the text is one sentence for the page."""


def information(repo: str, api: HfApi) -> ModelInfo:
    """Return commit, files and sizes of a model; raise Refused if it cannot be read."""
    check_name(repo)
    info = read(repo, lambda: api.model_info(repo, files_metadata=True, timeout=TIMEOUT))
    if sizes_of(info).get(CONFIG, 0) > MOST_CONFIG:
        raise Refused(f"The {CONFIG} of {repo} is larger than any that peft writes: save the adapter again with peft.")
    return info


def sizes_of(info: ModelInfo) -> dict[str, int]:
    """{path: bytes} of a model's files."""
    return {file.rfilename: file.size or 0 for file in info.siblings or []}


def config_of(repo: str, revision: str | None) -> dict[str, Any]:
    """Return an adapter's adapter_config.json; raise Refused if it cannot be read."""
    path = read(repo, lambda: hf_hub_download(repo, CONFIG, revision=revision))
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise Refused(f"The {CONFIG} of {repo} is not a JSON object: save the adapter again with peft.")
    return config


def check_name(repo: str) -> None:
    """Raise Refused unless `repo` is written org/name."""
    if not _NAME.fullmatch(repo):
        raise Refused(f"{repo[:100]!r} is not a repository name: write org/name.")


def read(repo: str, request: Callable[[], _T]) -> _T:
    """Return what `request` reads of the repository; raise Refused with the reason if it fails."""
    try:
        return request()
    except HFValidationError:
        raise Refused(f"{repo[:100]!r} is not a repository name: write org/name.") from None
    except RemoteEntryNotFoundError:
        raise Refused(f"{repo} is not an adapter: {CONFIG} or adapter_model.safetensors is missing.") from None
    except RepositoryNotFoundError:
        raise Refused(f"The model {repo} is not on the Hub, or it is private: check the name.") from None
    except UNREACHABLE as error:
        raise Refused(f"{repo} could not be read: {reason(error)}") from None


def reason(error: BaseException) -> str:
    """One sentence about a failed request, without addresses and headers."""
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return f"the Hub answered {error.response.status_code}. Try again in a minute."
    return "the Hub does not answer. Try again in a minute."
