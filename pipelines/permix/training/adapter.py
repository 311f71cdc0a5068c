"""The adapter as it is published."""

import json
from pathlib import Path
from typing import Any

from permix import files
from permix.stage import Parts


def save(model: Any, tokenizer: Any, parts: Parts, out: Path) -> None:
    """Save adapter and tokenizer; the adapter names its base as on the Hub, its JSON is sorted (peft writes a set)."""
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
    repository, _, revision = parts.sources["base"].partition("@")
    saved = json.loads((out / "adapter_config.json").read_text(encoding="utf-8"))
    saved |= {"base_model_name_or_path": repository, "revision": revision}
    saved["target_modules"] = sorted(saved["target_modules"])
    files.write_json(out / "adapter_config.json", saved)
