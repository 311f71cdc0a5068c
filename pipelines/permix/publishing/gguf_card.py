"""The card of a model that was read from a GGUF file."""

import hashlib
import re
from pathlib import Path

import yaml

from permix.publishing import templates
from permix.publishing.gguf_header import Header

REPOSITORIES = ("source.huggingface.repository", "source.repo_url", "source.url", "repo_url", "base_model.0.repo_url")
"""Metadata that may name the original on huggingface.co, the model itself before its base."""


def render(path: Path, header: Header, name: str, dtype: str) -> str:
    """Return the README.md: metadata as the Hub knows them, the original's licence, and where the weights are from."""
    import gguf

    general = {key.removeprefix("general."): value for key, value in header.metadata.items()}
    original = next((repo for key in REPOSITORIES if (repo := _repository(general.get(key)))), "")
    links = {"license": "license", "license.name": "license_name", "license.link": "license_link"}
    head = {to: general[key] for key, to in links.items() if isinstance(general.get(key), str)}
    head |= {"base_model": original, "base_model_relation": "quantized"} if original else {}
    head |= {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["gguf"]}
    try:
        quantisation = (
            gguf.LlamaFileType(general.get("file_type", -1)).name.removeprefix("MOSTLY_").removeprefix("ALL_")
        )
    except ValueError:
        types = {gguf.GGMLQuantizationType(tensor.type).name for tensor in header.tensors if len(tensor.shape) > 1}
        quantisation = ", ".join(sorted(types))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    page = templates.render(
        "_gguf", repo=name, title=original or general.get("name") or path.stem, file=path.name, dtype=dtype,
        quantisation=quantisation, architecture=header.architecture, parameters=header.parameters, sha256=digest,
    )  # fmt: skip
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000)}---\n{page}"


def _repository(text: object) -> str:
    """Return the repository of huggingface.co that a metadata value names, "" if it names none."""
    name = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
    match = re.fullmatch(rf"(?:https://huggingface\.co/)?({name})/?", str(text or ""))
    return match[1] if match else ""
