"""LoRA adapters of one base in memory, each proved to have an effect."""

import copy
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from permix.errors import BadInput, PermixError
from permix.sampling.sampler import Adapter


class Adapters:
    """Switches adapters of `base` without loading it again.

    In float32 an adapter is merged into a copy of the base, so that decoding costs nothing more; the last copy stays
    in memory. In 16 bits a merge would round part of the adapter away: there all adapters run beside the weights.
    """

    def __init__(self, base: Any, name: str) -> None:
        """Prepare for adapters of `base`, called `name` in errors."""
        self._base, self._name = base, name
        self._merged: tuple[str, Any] = ("", None)  # digest, model
        self._peft: Any = None
        self._beside: dict[str, str] = {}  # digest -> peft's name
        self._tried = 0

    @contextmanager
    def use(self, adapter: Adapter | None, probe: list[int]) -> Iterator[Any]:
        """Yield the model with `adapter` (None: the base). `probe` is the canary's prompt (token ids).

        PermixError for an adapter without effect, BadInput for one of another base or for no adapter at all.
        """
        if adapter is None and self._peft is None:
            yield self._base
        elif adapter is None:
            with self._peft.disable_adapter():
                yield self._base
        elif self._base.dtype == torch.float32:
            if self._merged[0] != adapter.digest:
                self._merged = (adapter.digest, self._merge(adapter, probe))
            yield self._merged[1]
        else:
            if adapter.digest not in self._beside:
                self._beside[adapter.digest] = self._load_beside(adapter, probe)
            self._peft.set_adapter(self._beside[adapter.digest])
            yield self._base

    def _merge(self, adapter: Adapter, probe: list[int]) -> Any:
        merged = self.fit(adapter).merge_and_unload().eval()
        self.canary(adapter, logits(self._base, probe), logits(merged, probe))
        return merged

    def fit(self, adapter: Adapter) -> Any:
        """Load `adapter` into a copy of the base (on the device `meta` too); BadInput where it does not fit."""
        from peft import PeftModel

        with self._one_sentence(adapter):
            model = PeftModel.from_pretrained(copy.deepcopy(self._base), adapter.path)
        self._refuse_missing(adapter, model, "default")
        return model

    def _load_beside(self, adapter: Adapter, probe: list[int]) -> str:
        from peft import PeftConfig, PeftModel

        with self.use(None, probe) as base:
            before = logits(base, probe)
        self._tried += 1
        name = f"adapter{self._tried}"  # not reused after a failure: half an adapter may have it
        with self._one_sentence(adapter):
            if self._peft is None:
                self._peft = PeftModel(self._base, PeftConfig.from_pretrained(adapter.path), adapter_name=name)
            self._peft.load_adapter(adapter.path, adapter_name=name)
        self._refuse_missing(adapter, self._peft, name)
        self._peft.set_adapter(name)
        self._peft.eval()
        self.canary(adapter, before, logits(self._base, probe))
        return name

    @contextmanager
    def _one_sentence(self, adapter: Adapter) -> Iterator[None]:
        """Turn peft's errors into one sentence of ours."""
        config = adapter.path / "adapter_config.json"
        if not config.is_file():
            raise BadInput(f"{adapter.path} holds no adapter_config.json: give the folder of a LoRA adapter.")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # missing tensors: refused below
                yield
        except (RuntimeError, ValueError, KeyError) as error:
            own = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
            lines = [line.strip() for line in str(error).splitlines()]
            reason = next((line for line in lines if line.startswith("size mismatch")), lines[0]).rstrip(".")
            raise BadInput(
                f"The adapter {adapter.path} does not fit the base {self._name}: "
                f"it was trained for {own}, use that ({reason})."
            ) from None

    def _refuse_missing(self, adapter: Adapter, model: Any, name: str) -> None:
        """Raise PermixError for missing tensors: peft only warns, and those layers do nothing."""
        from peft import get_peft_model_state_dict

        expected = get_peft_model_state_dict(model, adapter_name=name).keys()
        missing = sorted(expected - _weights(adapter).keys())
        if missing:
            raise PermixError(
                f"The adapter {adapter.path} has no effect on {len(missing)} of its {len(expected)} tensors in "
                f"{self._name}: its file lacks {missing[0]}; save it again with peft."
            )

    def canary(self, adapter: Adapter, before: torch.Tensor, after: torch.Tensor) -> None:
        """Raise PermixError where the logits are equal although a B matrix differs from its initial zeros."""
        if not torch.equal(before, after):
            return
        if any(bool(tensor.any()) for name, tensor in _weights(adapter).items() if "_B" in name):
            raise PermixError(
                f"The adapter {adapter.path} has no effect: the logits of {self._name} stay the same, "
                "although the adapter's B matrices are not zero; train it again, or sample the base itself."
            )


@torch.inference_mode()
def logits(model: Any, prompt: list[int]) -> torch.Tensor:
    """Return the logits for every position of `prompt`, shape (1, tokens, vocabulary)."""
    return model(torch.tensor([prompt], device=model.device)).logits  # type: ignore[no-any-return]


def _weights(adapter: Adapter) -> dict[str, torch.Tensor]:
    from peft.utils import load_peft_weights

    return load_peft_weights(str(adapter.path), device="cpu")  # type: ignore[no-any-return]
