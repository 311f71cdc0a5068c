"""Save an adapter as it is published."""

import json
from pathlib import Path
from typing import Any

from permix import files
from permix.stage import StageContext


def save(trainer: Any, context: StageContext, out: Path) -> None:
    """Save adapter (base by name, sorted JSON) and tokenizer. Every process must call it: FSDP splits the weights."""
    whole = trainer.accelerator.get_state_dict(trainer.model) if trainer.is_fsdp_enabled else None
    trainer.accelerator.unwrap_model(trainer.model).save_pretrained(out, state_dict=whole)
    trainer.processing_class.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
    repository, _, revision = context.sources["base"].partition("@")
    saved = json.loads((out / "adapter_config.json").read_text(encoding="utf-8"))
    saved |= {"base_model_name_or_path": repository, "revision": revision}
    saved["target_modules"] = sorted(saved["target_modules"])
    files.write_json(out / "adapter_config.json", saved)
