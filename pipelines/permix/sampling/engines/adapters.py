"""LoRA adapters of one base in memory, each proved to have an effect and to leave the base unchanged."""

import copy
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from permix.errors import BadInput, PermixError
from permix.sampling.sampler import Adapter

HARMLESS_INITS = ("gaussian", "eva", "orthogonal")
"""Values of init_lora_weights, beside true and false, that neither read nor change the base's weights."""
PLAIN = {"peft_type", "task_type", "base_model_name_or_path", "revision", "peft_version", "auto_mapping"}
PLAIN |= {"inference_mode", "r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "eva_config"}
PLAIN |= {"fan_in_fan_out", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "layers_to_transform"}
PLAIN |= {"layers_pattern"}
"""Keys of an adapter_config.json that leave the base's weights and modules as they are, whatever their value."""
EXPECTED = (
    *("Found missing adapter keys", "Already found a `peft_config`", "Input and output embeddings are no longer"),
    "`is_gradient_checkpointing` is deprecated",
)
"""Beginnings of peft's warnings that need no note: `Adapters` takes care of their causes."""

MISFIT = ("size mismatch", "Target modules", "No modules were targeted")
"""Beginnings of peft's errors for an adapter of another base."""


class Adapters:
    """Switches adapters of `base` without loading it again. The weights of `base` never change.

    In float32 an adapter is merged into a copy of the base, so that decoding costs nothing more. In 16 bits a merge
    would round part of the adapter away: there adapters run beside the weights, and one that changes more than LoRA
    layers (`unusual`) has a copy of the base to itself. The last copy stays in memory.
    """

    def __init__(self, base: Any, name: str) -> None:
        """Prepare for adapters of `base`, called `name` in errors."""
        self._base, self._name = base, name
        self._copy: tuple[str, Any] = ("", None)  # digest, model
        self._peft: Any = None
        self._beside: dict[str, str] = {}  # digest -> peft's name
        self._unusual: dict[str, str] = {}  # digest -> its first unusual setting, for adapters that were checked
        self.notes: dict[str, list[str]] = {}
        """By digest, one sentence for each warning of peft."""

    @contextmanager
    def use(self, adapter: Adapter | None, probe: list[int]) -> Iterator[Any]:
        """Yield the model with `adapter` (None: the base). `probe` is the canary's prompt (token ids).

        PermixError for an adapter without effect, BadInput for one that does not load. Neither leaves a trace.
        """
        if adapter is None and self._peft is None:
            yield self._base
        elif adapter is None:
            with self._peft.disable_adapter():
                yield self._base
        elif self._base.dtype == torch.float32 or self.check(adapter):
            if self._copy[0] != adapter.digest:
                self._copy = ("", None)  # frees its memory
                self._copy = (adapter.digest, self._load_into_copy(adapter, probe))
            yield self._copy[1]
        else:
            if adapter.digest not in self._beside:
                self._beside[adapter.digest] = self._load_beside(adapter, probe)
            self._peft.set_adapter(self._beside[adapter.digest])
            yield self._base

    def check(self, adapter: Adapter) -> str:
        """Read the files of `adapter`; return its first setting that changes more than LoRA layers, "" if none does.

        BadInput for files that are not a LoRA adapter's, and for weights that are not finite.
        """
        if adapter.digest not in self._unusual:
            config = config_of(adapter)
            weights = _weights(adapter)
            if broken := [name for name, tensor in weights.items() if not bool(tensor.float().isfinite().all())]:
                raise BadInput(
                    f"The adapter {adapter.path} holds weights that are not finite (the first in {broken[0]}): "
                    "train it again, or choose an earlier checkpoint."
                )
            self._unusual[adapter.digest] = unusual(config, weights)
        return self._unusual[adapter.digest]

    def fit(self, adapter: Adapter) -> Any:
        """Load `adapter` into a copy of the base (on the device `meta` too); BadInput where it does not fit."""
        from peft import PeftModel

        self.check(adapter)
        self._unload()
        with self._one_sentence(adapter):
            model = PeftModel.from_pretrained(copy.deepcopy(self._base), adapter.path)
        self._refuse_missing(adapter, model, "default")
        return model

    def _load_into_copy(self, adapter: Adapter, probe: list[int]) -> Any:
        adapted = self.fit(adapter)
        with self._one_sentence(adapter):
            merge = self._base.dtype == torch.float32
            model = (adapted.merge_and_unload() if merge else adapted.get_base_model()).eval()
        self.canary(adapter, logits(self._base, probe), logits(model, probe))
        return model

    def _load_beside(self, adapter: Adapter, probe: list[int]) -> str:
        from peft import PeftConfig, PeftModel

        with self.use(None, probe) as base:
            before = logits(base, probe)
        name = f"adapter{len(self._beside)}"
        try:
            with self._one_sentence(adapter):
                if self._peft is None:
                    self._peft = PeftModel(self._base, PeftConfig.from_pretrained(adapter.path), adapter_name=name)
                self._peft.load_adapter(adapter.path, adapter_name=name)
                self._peft.set_adapter(name)
            self._refuse_missing(adapter, self._peft, name)
            self._peft.eval()
            self.canary(adapter, before, logits(self._base, probe))
        except BaseException:
            self._unload()
            raise
        return name

    def _unload(self) -> None:
        """Take every adapter out of the base, also what a failed load left; the others load again when needed."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        for name, module in list(self._base.named_modules()):
            if isinstance(module, BaseTunerLayer):
                parent, _, attribute = name.rpartition(".")
                setattr(self._base.get_submodule(parent), attribute, module.get_base_layer())
        vars(self._base).pop("peft_config", None)
        self._peft, self._beside = None, {}

    @contextmanager
    def _one_sentence(self, adapter: Adapter) -> Iterator[None]:
        """Turn peft's errors into one sentence of ours, and its warnings into notes."""
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                yield
        except (PermixError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # peft and torch raise many kinds for an adapter that does not fit or is broken
            own = config_of(adapter).get("base_model_name_or_path")
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            reason = next((line for line in lines if line.startswith(MISFIT)), lines[0]).rstrip(".")
            if reason.startswith(MISFIT):
                fault, advice = "does not fit the base", f"it was trained for {own}, use that ({reason})"
            else:
                fault, advice = "does not load into the base", f"convert it to plain LoRA with peft ({reason})"
            raise BadInput(f"The adapter {adapter.path} {fault} {self._name}: {advice}.") from None
        peft = [str(w.message).partition("\n")[0] for w in caught if "peft" in w.filename]
        notes = [f"peft warns of the adapter {adapter.path}: {text}" for text in peft if not text.startswith(EXPECTED)]
        self.notes[adapter.digest] = list(dict.fromkeys([*self.notes.get(adapter.digest, []), *notes]))

    def _refuse_missing(self, adapter: Adapter, model: Any, name: str) -> None:
        """Raise PermixError for missing tensors: peft only warns, and those layers do nothing."""
        from peft import get_peft_model_state_dict

        expected = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False).keys()
        missing = sorted(expected - _weights(adapter).keys())
        if missing:
            raise PermixError(
                f"The adapter {adapter.path} has no effect on {len(missing)} of its {len(expected)} tensors in "
                f"{self._name}: its file lacks {missing[0]}; save it again with peft."
            )

    def canary(self, adapter: Adapter, before: torch.Tensor, after: torch.Tensor) -> None:
        """Raise PermixError for logits that become infinite or NaN, or stay equal although a B matrix is not zero."""
        if bool(before.isfinite().all()) and not bool(after.isfinite().all()):
            raise PermixError(
                f"The adapter {adapter.path} makes the logits of {self._name} infinite or NaN: "
                "use a dtype with a larger range, or train it again."
            )
        if not torch.equal(before, after):
            return
        if any(bool(tensor.any()) for name, tensor in _weights(adapter).items() if "_B" in name):
            raise PermixError(
                f"The adapter {adapter.path} has no effect: the logits of {self._name} stay the same, "
                "although the adapter's B matrices are not zero; train it again, or sample the base itself."
            )


def config_of(adapter: Adapter) -> dict[str, Any]:
    """Return the content of adapter_config.json; BadInput if it is not a LoRA adapter's."""
    path = adapter.path / "adapter_config.json"
    if not path.is_file():
        raise BadInput(f"{adapter.path} holds no adapter_config.json: give the folder of a LoRA adapter.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # peft has no sentence for a byte order mark either
        raise BadInput(f"peft cannot read {path} ({error}): save it as JSON in UTF-8, without a mark.") from None
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise BadInput(
            f"The adapter {adapter.path} has the type {kind}, but only LoRA adapters can be measured: "
            "merge it into its base and give that as the base."
        )
    return dict(config)


def unusual(config: Mapping[str, Any], weights: Mapping[str, Any]) -> str:
    """Return the first setting, or tensor, of an adapter that can change weights or modules of the base itself."""
    from peft import LoraConfig

    defaults = LoraConfig().to_dict() | {"init_lora_weights": True}
    for key, setting in config.items():
        harmless = key in PLAIN or not setting or setting == defaults.get(key)
        if not harmless and not (key == "init_lora_weights" and setting in HARMLESS_INITS):
            return f"{key} = {json.dumps(setting)}"
    return next((f"the tensor {name}" for name in weights if "lora_" not in name), "")


@torch.inference_mode()
def logits(model: Any, prompt: list[int]) -> torch.Tensor:
    """Return the logits for every position of `prompt`, shape (1, tokens, vocabulary)."""
    return model(torch.tensor([prompt], device=model.device)).logits  # type: ignore[no-any-return]


def _weights(adapter: Adapter) -> dict[str, torch.Tensor]:
    from peft.utils import load_peft_weights

    try:
        return load_peft_weights(str(adapter.path), device="cpu")  # type: ignore[no-any-return]
    except Exception as error:  # safetensors, torch and the Hub's client have their own kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise BadInput(f"The weights of the adapter {adapter.path} cannot be read ({reason}): save it again.") from None
