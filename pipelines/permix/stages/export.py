"""Publish an adapter merged into its base, as a transformers model or a GGUF file, for `permix export`.

In:  adapter, base (the revision that the adapter names)
Out: merged: model.safetensors, config.json, generation_config.json, tokenizer
     gguf:   <name>.gguf, the merged model converted by llama.cpp's own converter

The adapter is merged into the unquantised base, even if it was trained on a 4-bit base.
"""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from permix.errors import BadInput, PermixError
from permix.stage import Facts, Stage, StageConfig, StageContext, unhashed

CONVERTER = "convert_hf_to_gguf.py"
Format = Literal["merged", "f32", "f16", "bf16", "q8_0"]
CHECK = "Ana has 12 apples. She buys 7 more apples. How many apples does Ana have?"


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """`adapter` and `base` are written `org/name@revision`; a `format` other than "merged" is a GGUF type."""

    TABLE: ClassVar[str] = "export"

    adapter: str = unhashed("")  # the content is hashed, as of every input; a commit has a time
    base: str = unhashed("")
    variant: str = ""
    format: Format = "merged"
    trained_in_4bit: bool = False

    @property
    def stem(self) -> str:
        """The adapter's own name, which includes tag and seed, and the format."""
        return f"{self.adapter.partition('@')[0].split('/')[1]}-{self.format}"

    @property
    def is_merged(self) -> bool:
        """Whether the result is a transformers model."""
        return self.format == "merged"


def target(config: Config) -> str:
    """Return `org/<adapter>-merged` or `org/<adapter>-<type>-gguf`."""
    return f"{config.org}/{config.stem}" + ("" if config.is_merged else "-gguf")


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Merge, check the merged model against the adapted one, and convert it to GGUF for a GGUF format."""
    merged = out if config.is_merged else context.work / "merged"
    shutil.rmtree(merged, ignore_errors=True)
    facts = merge(inputs["base"], inputs["adapter"], merged)
    if not config.is_merged:
        context.progress(1, 2, "models", "merged")
        convert(merged, out / f"{config.stem}.gguf", config.format)
    return facts


def merge(base: Path, adapter: Path, out: Path) -> Facts:
    """Write base + adapter, in the base's dtype, and the adapter's tokenizer (or the base's) into `out`; return facts.

    PermixError if the adapter's weights have no effect, or if the merged model differs more from the adapted one than
    the base does. A difference is the largest change of a logit on one prompt, computed in float32: in bfloat16 the
    rounding of activations alone moves a logit of SmolLM2-135M by up to 1.4.
    """
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    has_tokenizer = (adapter / "tokenizer_config.json").is_file()
    tokenizer = AutoTokenizer.from_pretrained(adapter if has_tokenizer else base)
    prompt = tokenizer(CHECK, return_tensors="pt", add_special_tokens=False)["input_ids"]

    def logits(model: Any) -> torch.Tensor:
        with torch.inference_mode():
            return cast(torch.Tensor, model.eval()(prompt).logits)

    exact = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    base_logits = logits(exact)
    adapted_logits = logits(PeftModel.from_pretrained(exact, adapter))
    del exact
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    dtype = str(model.dtype).removeprefix("torch.")
    # safe_merge refuses weights that are not finite
    model = PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True)
    model.config._name_or_path = ""  # or config.json would name a folder of this machine
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    parameters = sum(p.numel() for p in model.parameters())
    change = float((adapted_logits - base_logits).abs().max())
    error = float((adapted_logits - logits(model.float())).abs().max())
    learned = any(w.any() for name, w in load_file(adapter / "adapter_model.safetensors").items() if "lora_B" in name)
    if learned and not change:
        raise PermixError("The adapter's weights change no logit of its base: they do not fit its layers.")
    if error > change:
        raise PermixError(
            f"The merged model differs from the adapted one by {error:.2g} in a logit, the base only by {change:.2g}: "
            f"merging in {dtype} loses the adapter."
        )
    return {
        "dtype": dtype,
        "parameters": parameters,
        "largest_logit_change_by_adapter": change,
        "largest_logit_error_by_merging": error,
    }


def converter() -> str:
    """Return the path of llama.cpp's converter; BadInput if it is not on the PATH."""
    path = shutil.which(CONVERTER)
    if path is None:
        raise BadInput(
            f"A GGUF file is made by llama.cpp's {CONVERTER}, which is not on the PATH: install llama.cpp, or add the "
            "folder of its source to PATH and `pip install gguf`. --merge needs neither."
        )
    return path


def convert(model: Path, file: Path, kind: str) -> None:
    """Convert a model folder to one GGUF file of the type `kind`."""
    done = subprocess.run(
        [converter(), str(model), "--outfile", str(file), "--outtype", kind], capture_output=True, text=True
    )
    if done.returncode or not file.is_file():
        output = (done.stderr or done.stdout).strip().splitlines() or ["it printed nothing"]
        raise PermixError(f"{CONVERTER} could not convert the merged model: {output[-1][:300]}")


STAGE = Stage(
    name="export",
    card="export",
    version=1,
    config=Config,
    target=target,
    inputs=lambda config: {"adapter": config.adapter, "base": config.base},
    run=run,
    needs=lambda config: ("torch", "transformers", "peft"),
)
