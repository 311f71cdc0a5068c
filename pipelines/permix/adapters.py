"""LoRA adapters of one base in memory, proved to be active."""

import copy
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from permix.errors import BadInput, PermixError
from permix.sampler import Adapter


class Adapters:
    """Switches adapters of `base` without loading it again.

    In float32 an adapter is merged into a copy of the base, the last one is kept: the base's own weights are never
    touched and decoding pays nothing for the adapter. In 16 bits a merge would round the adapter away, so adapters
    stay beside the weights, all of them loaded.
    """

    def __init__(self, base: Any, name: str) -> None:
        """Hold adapters for `base`; `name` stands for it in errors."""
        self._base, self._name = base, name
        self._merge = base.dtype == torch.float32
        self._merged: tuple[str, Any] = ("", base)
        self._peft: Any = None
        self._loaded: dict[str, str] = {}

    @contextmanager
    def use(self, adapter: Adapter | None, probe: list[int]) -> Iterator[Any]:
        """Give the model with `adapter` (None: the base). `probe` is the prompt (token ids) of the canary.

        Raises PermixError when the adapter changes nothing, BadInput when it is not one or belongs to another base.
        """
        if adapter is None and self._peft is None:
            yield self._base
        elif adapter is None:
            with self._peft.disable_adapter():
                yield self._base
        elif self._merge:
            if self._merged[0] != adapter.digest:
                self._merged = (adapter.digest, self._load_merged(adapter, probe))
            yield self._merged[1]
        else:
            if adapter.digest not in self._loaded:
                self._load_beside(adapter, probe)
            self._peft.set_adapter(self._loaded[adapter.digest])
            yield self._base

    def _load_merged(self, adapter: Adapter, probe: list[int]) -> Any:
        from peft import PeftModel

        with self._sentence(adapter):
            model = PeftModel.from_pretrained(copy.deepcopy(self._base), adapter.path)
        merged = model.merge_and_unload().eval()
        self._canary(adapter, logits(self._base, probe), logits(merged, probe))
        return merged

    def _load_beside(self, adapter: Adapter, probe: list[int]) -> None:
        from peft import PeftModel

        with self.use(None, probe) as base:
            before = logits(base, probe)
        name = f"adapter{len(self._loaded)}"
        with self._sentence(adapter):
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(self._base, adapter.path, adapter_name=name)
            else:
                self._peft.load_adapter(adapter.path, adapter_name=name)
        self._peft.set_adapter(name)
        self._peft.eval()
        self._canary(adapter, before, logits(self._base, probe))
        self._loaded[adapter.digest] = name

    def _canary(self, adapter: Adapter, before: torch.Tensor, after: torch.Tensor) -> None:
        if torch.equal(before, after) and not _is_zero(adapter):
            raise PermixError(
                f"The adapter {adapter.path} has no effect on {self._name} although its weights are not zero: "
                "its tensors do not bear the names of this model's layers; save it again with peft."
            )

    @contextmanager
    def _sentence(self, adapter: Adapter) -> Iterator[None]:
        """Say peft's errors, and its warnings about tensors left out, in one sentence."""
        config = adapter.path / "adapter_config.json"
        if not config.is_file():
            raise BadInput(f"{adapter.path} holds no adapter_config.json: give the folder of a LoRA adapter.")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except (RuntimeError, ValueError, KeyError) as error:
            own = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            reason = next((line for line in lines if "size mismatch" in line), lines[0] if lines else repr(error))
            raise BadInput(
                f"The adapter {adapter.path} does not fit the base {self._name} ({reason.rstrip('.')}): "
                f"it was made for {own}; use that base."
            ) from None


@torch.inference_mode()
def logits(model: Any, prompt: list[int]) -> torch.Tensor:
    """The model's logits for every position of `prompt`, shape (1, tokens, vocabulary)."""
    return model(torch.tensor([prompt], device=model.device)).logits


def _is_zero(adapter: Adapter) -> bool:
    """Are all B matrices in the adapter's file zero, as after initialisation?"""
    from peft.utils import load_peft_weights

    weights = load_peft_weights(str(adapter.path), device="cpu")
    return all(not bool(w.any()) for name, w in weights.items() if "lora_B" in name or "lora_embedding_B" in name)
