"""What each process of a training under accelerate calls first."""

from typing import Any

import torch
from accelerate import state
from accelerate.utils import DistributedType
from transformers import GenerationMixin

from permix.training import adapter


def play_recorded_rollouts() -> None:
    """Let every model answer its prompts in turn with the token it likes best and with one that is always the same."""

    def generate(self: Any, input_ids: Any, attention_mask: Any, **_: Any) -> Any:
        with torch.no_grad():
            logits = self(input_ids=input_ids, attention_mask=attention_mask).logits
        answers = logits[:, -1].argmax(-1, keepdim=True)
        answers[1::2] = 70
        return torch.cat([input_ids, answers], dim=1)

    GenerationMixin.generate = generate


def allow_without_gpus() -> None:
    """Let accelerate take an FSDP file at its word, and write down in the work folder whether weights were halved."""
    start, save = state.AcceleratorState.__init__, adapter.save

    def shard(self: Any, *arguments: Any, fsdp_plugin: Any = None, **keywords: Any) -> None:
        start(self, *arguments, fsdp_plugin=fsdp_plugin, **keywords)
        if fsdp_plugin is not None:
            self.fsdp_plugin, self.distributed_type = fsdp_plugin, DistributedType.FSDP
            state.PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    def look_and_save(trainer: Any, parts: Any, out: Any) -> None:
        halved = all(weight.to_local().numel() < weight.numel() for weight in trainer.model.parameters())
        (parts.work / "halved").write_text(str(halved))
        save(trainer, parts, out)

    state.AcceleratorState.__init__, adapter.save = shard, look_and_save
