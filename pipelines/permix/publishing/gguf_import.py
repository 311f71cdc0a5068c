"""Read a GGUF file into a model repository that everything else of permix loads."""

import fcntl
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from permix.errors import BadInput, PermixError
from permix.publishing import gguf_card, gguf_check, local_folder
from permix.publishing.gguf_header import Header
from permix.sampling.engines import memory

FILE = "model.gguf"
"""The name of the file for transformers, in a folder without other files that it would read too."""
ENDS = (
    *("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|end|>", "<|return|>"),
    *("<|call|>", "<end_of_turn>", "<turn|>", "<eos>", "</s>", "<end_of_utterance>", "<EOT>", "_<EOT>", "[EOT]"),
    "[EOS]",
)
"""Special tokens that end a completion: those of llama.cpp (src/llama-vocab.cpp)."""
SPECIAL = (3, 4)
"""The types of control tokens and of added tokens in `tokenizer.ggml.token_type`."""
SAME = 0.9
"""Cosine above which embedding and head are roundings of one tied matrix; two bits give 0.95, untied ones below 0.5."""
FULL = "No space left|File too large|os error (27|28)"
_READ_ERRORS = (OSError, ValueError, LookupError, RuntimeError, AttributeError, TypeError, ImportError)


def upload(path: Path, header: Header, name: str, dtype: str, work: Path) -> str:
    """Import a checked GGUF file as the model repository `name`, in one commit; return the commit.

    The Hub is that of the environment. Everything temporary is under `work`; the next import deletes what a kill left.
    """
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_MININTERVAL", "10")  # transformers' bars: a line each ten seconds
    with _work_folder(work) as folder:
        out = convert(path, header, name, dtype, folder)
        print(f"Uploading {memory.weights_bytes(out, dtype) / memory.GB:.1f} GB as {name}.", file=sys.stderr)
        return local_folder.upload(out, "model", name, path)


def convert(path: Path, header: Header, name: str, dtype: str, folder: Path) -> Path:
    """Write the model of a checked GGUF file as transformers saves it; return its folder in `folder`.

    BadInput where transformers does not read the file, PermixError for a full disk.
    """
    source, out = folder / "source", folder / path.name
    source.mkdir()
    (source / FILE).symlink_to(path.absolute())
    with _sentences(path, header, dtype, folder):
        _save(path, header, dtype, source, out)
    weights = memory.weights_bytes(out, "bfloat16") // 2  # a tied head counts once
    (out / "README.md").write_text(gguf_card.render(path, header, name, dtype, weights), encoding="utf-8")
    return out


@contextmanager
def _work_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder under `parent`, deleted at the end; delete those that killed imports left."""
    parent.mkdir(parents=True, exist_ok=True)
    with _locked(parent):
        for folder in parent.iterdir():
            with _locked(folder, wait=False) as free:
                if free:
                    shutil.rmtree(folder)
        folder = Path(tempfile.mkdtemp(dir=parent))
        lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        os.close(lock)


@contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Lock a folder; yield whether it was free, if not to `wait`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def _save(path: Path, header: Header, dtype: str, source: Path, out: Path) -> None:
    """Write model, tokenizer and generation config of the file in `source` into `out`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

    rope = _rope(path, header, AutoConfig.from_pretrained(source, gguf_file=FILE))
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=FILE)
    if not tokenizer.chat_template:
        print(f"Note: {path} lacks a chat template, which sampling and training need.", file=sys.stderr)
    unpacked: Any = {"quantization_config": GgufConfig(dequantize=True), "dtype": getattr(torch, dtype)}
    model, report = AutoModelForCausalLM.from_pretrained(source, gguf_file=FILE, output_loading_info=True, **unpacked)
    if lacking := sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}):
        raise ValueError(f"{len(lacking)} weights of the model are not in the file, {lacking[0]} first")
    for holder, attribute in ((model.config, "quantization_config"), (model, "quantization_method")):
        if hasattr(holder, attribute):
            delattr(holder, attribute)
    model.is_quantized, model.hf_quantizer = False, None  # else save_pretrained refuses
    _tie(model)
    if rope:
        model.config.rope_parameters = rope
    model.generation_config.eos_token_id = _end_tokens(header)
    model.generation_config._from_model_config = False
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _tie(model: Any) -> None:
    """Tie embedding and head again if they differ by rounding only; the head has the finer one."""
    from torch.nn.functional import cosine_similarity

    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or head.weight is embedding.weight or head.weight.shape != embedding.weight.shape:
        return
    step = max(1, len(head.weight) // 4096)
    if cosine_similarity(head.weight[::step].float(), embedding.weight[::step].float()).mean() > SAME:
        embedding.weight = head.weight
        model.config.tie_word_embeddings = True


def _end_tokens(header: Header) -> list[int]:
    """Return the ids of all tokens that end a completion: those that the metadata name, and special tokens in ENDS."""
    metadata, tokens = header.metadata, header.metadata["tokenizer.ggml.tokens"]
    named = (metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom"))
    ends = {token_id for token_id in named if token_id is not None}
    kinds = metadata.get("tokenizer.ggml.token_type") or SPECIAL[:1] * len(tokens)
    words = set(ENDS) - ({"<|end|>"} if "<|return|>" in tokens else set())  # gpt-oss ends a channel with <|end|>
    ends |= {i for i, token in enumerate(tokens) if token in words and kinds[i] in SPECIAL}
    return sorted(ends)


def _rope(path: Path, header: Header, config: Any) -> dict[str, Any] | None:
    """Return the scaling of rotary positions where transformers does not read it; ValueError for an unknown one.

    Llama 3.1 and later have it as a tensor of factors, one for each pair of dimensions.
    """
    factors = next((tensor for tensor in header.tensors if tensor.name == "rope_freqs.weight"), None)
    scaling = header.metadata.get(f"{header.architecture}.rope.scaling.type") or "none"
    if any(tensor.name.startswith("rope_factors") for tensor in header.tensors):
        scaling = "longrope"
    if header.architecture != "gpt-oss" and scaling != "none":
        raise ValueError(f"its rotary positions are scaled ({scaling}), which transformers does not read from GGUF")
    if factors is None or header.architecture != "llama":
        return None
    import numpy as np
    import torch
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    stored = np.fromfile(path, "<f4", factors.elements, offset=factors.offset)
    rope = {"rope_type": "llama3", "rope_theta": config.rope_parameters["rope_theta"], "factor": float(stored.max())}
    rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    unscaled = config.rope_parameters["rope_theta"] ** -(torch.arange(0, config.head_dim, 2) / config.head_dim)
    config.rope_parameters = rope
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    if not np.allclose(unscaled / scaled, stored, rtol=1e-3):
        raise ValueError("its rotary positions are scaled in another way than Llama 3's")
    return rope


@contextmanager
def _sentences(path: Path, header: Header, dtype: str, work: Path) -> Iterator[None]:
    """Turn the errors of reading and of writing to a full disk into one sentence."""
    import transformers
    from safetensors import SafetensorError

    try:
        yield
    except (*_READ_ERRORS, SafetensorError) as error:
        text = " ".join((str(error) or type(error).__name__).split())[:400].rstrip(".")
        if re.search(FULL, text):
            needed = 2 * gguf_check.bytes_of(header, dtype) / memory.GB
            raise PermixError(
                f"{path} was not imported, because the disk of {work} is full: make room for {needed:.1f} GB, "
                "or choose another disk with PERMIX_HOME or --root."
            ) from None
        raise BadInput(
            f"{path} is not read by transformers {transformers.__version__}: {text}. "
            "Import the folder of the original model instead."
        ) from None
