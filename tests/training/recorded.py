"""Recorded rollouts in place of sampled ones: the same for the same prompts, in however many processes."""

from typing import Any


def play() -> None:
    """Let every model answer its prompts in turn with the token it likes best and with one that is always the same."""
    import torch
    from transformers import GenerationMixin

    def generate(self: Any, input_ids: Any, attention_mask: Any, **_: Any) -> Any:
        with torch.no_grad():
            logits = self(input_ids=input_ids, attention_mask=attention_mask).logits
        answers = logits[:, -1].argmax(-1, keepdim=True)
        answers[1::2] = 70
        return torch.cat([input_ids, answers], dim=1)

    GenerationMixin.generate = generate
