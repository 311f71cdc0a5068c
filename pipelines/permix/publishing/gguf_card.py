"""The card of a model that was read from a GGUF file."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from permix.publishing import templates
from permix.publishing.gguf_header import Header

REPOSITORIES = ("source.huggingface.repository", "source.repo_url", "source.url", "repo_url", "base_model.0.repo_url")
"""Metadata that may name the original on huggingface.co, the model itself before its base."""


def render(path: Path, header: Header, name: str, dtype: str, weights: int) -> str:
    """Return the README.md: metadata as the Hub knows them, the original's licence, and where the weights are from."""
    import gguf

    general = {key.removeprefix("general."): value for key, value in header.metadata.items()}
    repos = (_repository(general.get(key)) for key in REPOSITORIES)
    original = next((repo for repo in repos if repo and repo != name), "")
    head = _licence(general)
    head |= {"base_model": original, "base_model_relation": "quantized"} if original else {}
    head |= {"library_name": "transformers", "pipeline_tag": "text-generation"}
    try:
        quantisation = re.sub("^(MOSTLY|ALL)_", "", gguf.LlamaFileType(general.get("file_type", -1)).name)
    except ValueError:
        types = {gguf.GGMLQuantizationType(tensor.type).name for tensor in header.tensors if len(tensor.shape) > 1}
        quantisation = ", ".join(sorted(types))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    page = templates.render(
        "_gguf", repo=name, original=original, title=general.get("name") or path.stem, file=path.name, dtype=dtype,
        quantisation=quantisation, architecture=header.architecture, weights=weights, sha256=digest,
    )  # fmt: skip
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000)}---\n{page}"


def _licence(general: Mapping[str, Any]) -> dict[str, str]:
    """Return the licence for a card's metadata; a name that is not an identifier of the Hub makes it `other`."""
    fields = {"license": "license", "license.name": "license_name", "license.link": "license_link"}
    head = {to: str(general[key]) for key, to in fields.items() if key in general}
    if re.fullmatch(r"[a-z0-9.+-]*", head.get("license", "")):
        return head
    return {"license_name": head["license"]} | head | {"license": "other"}


def _repository(text: object) -> str:
    """Return the repository of huggingface.co that a metadata value names, "" if it names none."""
    name = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
    match = re.fullmatch(rf"(?:https://huggingface\.co/)?({name})/?", str(text or ""))
    return match[1] if match else ""
