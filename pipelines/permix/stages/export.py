"""Publish an adapter as a model of its own: merged into its base, or as a GGUF file (by `permix export`, no recipe).

In:  adapter, base (the revision that the adapter names)
Out: merged: model.safetensors, config.json, generation_config.json, tokenizer
     gguf:   <name>.gguf, made of the merged model by llama.cpp's own converter

The adapter goes into the unquantised base, also where it was trained on one of 4 bits: those roundings are left out.
"""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from permix.errors import BadInput, PermixError
from permix.stage import Facts, Stage, StageConfig, StageContext, unhashed

CONVERTER = "convert_hf_to_gguf.py"
Format = Literal["merged", "f32", "f16", "bf16", "q8_0"]
CHECK = "Ana has 12 apples. She buys 7 more apples. How many apples does Ana have?"


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """`adapter` and `base` are written `org/name@revision`; a `format` other than "merged" is a GGUF type."""

    TABLE: ClassVar[str] = "export"

    adapter: str = unhashed("")  # what they hold is hashed, as with every input; a commit carries a time
    base: str = unhashed("")
    variant: str = ""
    format: Format = "merged"
    trained_in_4bit: bool = False

    @property
    def stem(self) -> str:
        """The adapter's own name, in which tag and seed are already, and the format."""
        return f"{self.adapter.partition('@')[0].split('/')[1]}-{self.format}"

    @property
    def is_merged(self) -> bool:
        """Whether it stays a model of transformers."""
        return self.format == "merged"


def configs(recipe: Any) -> list[Config]:
    """None: what is exported is named on the command line."""
    return []


def target(config: Config) -> str:
    """`org/<adapter>-merged`, or `org/<adapter>-<type>-gguf`."""
    return f"{config.org}/{config.stem}" + ("" if config.is_merged else "-gguf")


def inputs(config: Config) -> dict[str, str]:
    """The adapter and its base."""
    return {"adapter": config.adapter, "base": config.base}


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Merge, prove that the merged model is the adapted one, and convert where a GGUF file is wanted."""
    merged = out if config.is_merged else context.work / "merged"
    shutil.rmtree(merged, ignore_errors=True)
    facts = merge(inputs["base"], inputs["adapter"], merged)
    if not config.is_merged:
        context.progress(1, 2, "models", "merged")
        convert(merged, out / f"{config.stem}.gguf", config.format)
    return facts


def merge(base: Path, adapter: Path, out: Path) -> Facts:
    """Write base + adapter, in the base's own dtype, and the adapter's tokenizer into `out`.

    PermixError where weights of the adapter have no effect, or where the merged model is further from the adapted one
    than the base is. The facts say how far: the largest change of a logit on one prompt.
    """
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(adapter)
    prompt = tokenizer(CHECK, return_tensors="pt", add_special_tokens=False)["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto").eval()
    dtype = str(model.dtype).removeprefix("torch.")
    with torch.inference_mode():
        plain = model(prompt).logits.float()
    adapted = PeftModel.from_pretrained(model, adapter).eval()
    with torch.inference_mode():
        wanted = adapted(prompt).logits.float()
    model = adapted.merge_and_unload(safe_merge=True)  # refuses weights that are not finite
    with torch.inference_mode():
        found = model(prompt).logits.float()
    change, error = float((wanted - plain).abs().max()), float((wanted - found).abs().max())
    learned = any(w.any() for name, w in load_file(adapter / "adapter_model.safetensors").items() if "lora_B" in name)
    if learned and not change:
        raise PermixError("The adapter's weights change no logit of its base: they do not fit its layers.")
    if error > change:
        raise PermixError(
            f"The merged model differs from the adapted one by {error:.2g} in a logit, the base only by {change:.2g}: "
            f"merging in {dtype} loses the adapter."
        )
    model.config._name_or_path = ""  # or config.json would name a folder of this machine
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return {
        "dtype": dtype,
        "parameters": sum(p.numel() for p in model.parameters()),
        "largest_logit_change_by_adapter": change,
        "largest_logit_error_by_merging": error,
    }


def converter() -> str:
    """The path of llama.cpp's converter; BadInput where it is not on the PATH."""
    found = shutil.which(CONVERTER)
    if found is None:
        raise BadInput(
            f"A GGUF file is made by llama.cpp's {CONVERTER}, which is not on the PATH: install llama.cpp, or add the "
            "folder of its source to PATH and `pip install gguf`. --merge needs neither."
        )
    return found


def convert(model: Path, file: Path, kind: str) -> None:
    """Turn a model folder into one GGUF file of the type `kind`."""
    done = subprocess.run(
        [converter(), str(model), "--outfile", str(file), "--outtype", kind], capture_output=True, text=True
    )
    if done.returncode or not file.is_file():
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise PermixError(f"{CONVERTER} could not convert the merged model: {said[-1][:300]}")


STAGE = Stage(
    name="export",
    card="export",
    version=1,
    config=Config,
    configs=configs,
    target=target,
    inputs=inputs,
    run=run,
    needs=lambda config: ("torch", "transformers", "peft"),
)
