"""One base model in memory and its adapters, which answer token by token."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import RepositoryNotFoundError
from jinja2 import TemplateError
from models import CONFIG, Refused, config_of, information, read, sizes_of
from peft import LoraConfig, PeftModel
from peft.utils import set_peft_model_state_dict
from safetensors.torch import load_file
from token_choice import TokenChooser
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

MOST_ADAPTERS = 16  # in memory; the least recently used one is dropped
MOST_BYTES = 2_000_000_000  # of one adapter's weights
MOST_SECONDS = 120  # of one answer
TEMPLATE = {"date_string": "26 Jul 2024", "enable_thinking": False}  # the same as in a sweep
WEIGHTS = "adapter_model.safetensors"
READ = {"r", "lora_alpha", "target_modules", "use_rslora", "use_dora", "fan_in_fan_out", "layers_to_transform"}
"""The keys read from an adapter_config.json, so that a stranger's file cannot change the base or import a module."""
UNKNOWN = ("modules_to_save", "layer_replication", "target_parameters", "trainable_token_indices", "megatron_config")
UNKNOWN += ("alora_invocation_tokens", "use_qalora", "use_bdlora", "lora_bias", "arrow_config", "layers_pattern")
UNKNOWN += ("rank_pattern", "alpha_pattern", "exclude_modules")
OF_THE_BASE = {"bias": ("none",), "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal")}
"""Settings that change the base's own weights, with the values that do not."""
MOST_RANK = 512


@dataclass(frozen=True)
class Sampling:
    """How an answer is sampled; temperature 0 is greedy."""

    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True)
class Request:
    """One answer to sample: the chat so far, the adapter ("" for the base alone), and the seed of the noise."""

    messages: tuple[tuple[str, str], ...]  # (role, content)
    adapter: str
    seed: int
    sampling: Sampling


class Speaker:
    """Answer with one base and any of its adapters. Safe to use from several threads."""

    def __init__(self, device: str) -> None:
        self._device, self._lock = device, threading.RLock()
        self.base = ""  # repo or repo@revision, once it is loaded
        self._model: Any = None
        self._peft: Any = None
        self._tokenizer: Any = None
        self._ends: set[int] = set()
        self._names: dict[str, str] = {}  # repo@sha -> peft's name, the most recently used last
        self._count, self._active = 0, ""

    def load(self, base: str) -> None:
        """Load the base unless one is loaded."""
        with self._lock:
            if self.base:
                return
            repo, _, revision = base.partition("@")
            settings = {"revision": revision or None, "use_safetensors": True, "dtype": "auto"}  # as published
            try:
                model = AutoModelForCausalLM.from_pretrained(repo, **settings).to(self._device).eval()
                self._tokenizer = AutoTokenizer.from_pretrained(repo, revision=revision or None)
            except (OSError, ValueError) as error:
                if isinstance(error.__cause__, RepositoryNotFoundError):
                    raise Refused(f"The base {base} is not on the Hub, or it is private: check its name.") from None
                kind = type(error).__name__
                raise Refused(f"The base {base} does not load ({kind}): try again later.") from None
            if not self._tokenizer.chat_template:
                raise Refused(f"The base {base} has no chat template: choose an instruct model.")
            ends = (self._tokenizer.eos_token_id, model.config.eos_token_id, model.generation_config.eos_token_id)
            self._ends = {t for end in ends for t in (end if isinstance(end, list) else [end]) if t is not None}
            self._model, self.base = model, base

    def find(self, repo: str, api: HfApi) -> str:
        """Download an adapter of this base and return `repo@sha`; raise Refused if it does not fit."""
        info = information(repo, api)
        size = sizes_of(info).get(WEIGHTS, 0)
        if size > MOST_BYTES:
            raise Refused(
                f"The adapter {repo} has {size / 1e9:.1f} GB: this page loads up to {MOST_BYTES / 1e9:.0f} GB."
            )
        config = config_of(repo, info.sha)
        name, _, revision = self.base.partition("@")
        base, pinned = config.get("base_model_name_or_path"), config.get("revision")
        if base != name or (pinned and revision and pinned != revision):
            trained_on = f"{base}@{pinned}" if base == name else str(base)
            raise Refused(f"The adapter {repo} was trained on {trained_on[:100]}: this page runs {self.base}.")
        if config.get("peft_type") != "LORA":
            kind = str(config.get("peft_type"))[:40]
            raise Refused(f"The adapter {repo} has the type {kind}: this page loads LoRA adapters only.")
        odd = [key for key in UNKNOWN if config.get(key)]
        odd += [key for key, harmless in OF_THE_BASE.items() if config.get(key, harmless[0]) not in harmless]
        if odd:
            raise Refused(f"The adapter {repo} uses {odd[0]}, which this page does not support.")
        targets, rank = config.get("target_modules"), config.get("r")
        if not (isinstance(targets, list) and isinstance(rank, int) and 0 < rank <= MOST_RANK):
            raise Refused(f"The {CONFIG} of {repo} should have a list of target_modules and r up to {MOST_RANK}.")
        read(repo, lambda: hf_hub_download(repo, WEIGHTS, revision=info.sha))
        return f"{repo}@{info.sha}"

    def answers(self, requests: list[Request]) -> Iterator[tuple[list[str], list[str]]]:
        """Yield the texts so far, a token more in each, and their ends. Raise Refused as `find` does.

        An end is "" while the text grows, then "stop", "length" (max_tokens) or "time" (MOST_SECONDS).
        """
        for request in requests:
            self._name(request.adapter)
        streams = [self._answer(request) for request in requests]
        texts, ends = ["" for _ in requests], ["" for _ in requests]
        while not all(ends):
            for i, stream in enumerate(streams):
                if not ends[i]:
                    texts[i], ends[i] = next(stream)
            yield list(texts), list(ends)

    @torch.inference_mode()
    def _answer(self, request: Request) -> Iterator[tuple[str, str]]:
        ids, cache, row = self._prompt(request), DynamicCache(), torch.zeros(1, dtype=torch.long)
        choose = TokenChooser([request], torch.device(self._device))
        tokens: list[int] = []
        end, deadline = "", time.monotonic() + MOST_SECONDS
        while not end:
            with self._lock:  # held for one token, so that the answers of several visitors alternate
                self._activate(self._name(request.adapter))
                logits = self._model(input_ids=ids, cache=cache, use_cache=True, logits_to_keep=1).logits
            token = int(choose(logits[:, -1], row, len(tokens)))
            tokens.append(token)
            if token in self._ends:
                end = "stop"
            elif len(tokens) == request.sampling.max_tokens:
                end = "length"
            elif time.monotonic() > deadline:
                end = "time"
            ids, text = torch.tensor([[token]], device=self._device), self._text(tokens)
            yield text if end else text.rstrip("\ufffd"), end  # half a character waits

    def _text(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _prompt(self, request: Request) -> torch.Tensor:
        messages = [{"role": role, "content": content} for role, content in request.messages]
        text = self._render(messages)
        system, *others = messages
        another = system | {"content": f"{system['content']} ?"}
        if system["role"] == "system" and text == self._render([another, *others]):
            raise Refused(f"The chat template of {self.base} leaves out system prompts: choose the persona none.")
        ids = self._tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        room = getattr(self._model.config, "max_position_embeddings", None)
        if room and ids.shape[1] + request.sampling.max_tokens > room:
            length = f"{ids.shape[1]} tokens and an answer of {request.sampling.max_tokens}"
            raise Refused(f"The chat has {length}, but the model reads {room}: shorten one, or clear the chat.")
        return ids.to(self._device)

    def _render(self, messages: list[dict[str, str]]) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **TEMPLATE
            )
        except TemplateError:
            raise Refused(
                f"The chat template of {self.base} refuses a system prompt: choose the persona none."
            ) from None
        return text

    def _name(self, adapter: str) -> str:
        """Return peft's name of an adapter (`repo@sha`), and load it first if necessary."""
        if not adapter:
            return ""
        with self._lock:
            name = self._names.pop(adapter, None) or self._add(adapter)
            self._names[adapter] = name
            while len(self._names) > MOST_ADAPTERS:
                self._peft.delete_adapter(self._names.pop(next(iter(self._names))))
            return name

    def _add(self, adapter: str) -> str:
        repo, _, sha = adapter.partition("@")
        files = [hf_hub_download(repo, name, revision=sha) for name in (CONFIG, WEIGHTS)]
        self._count += 1
        name = f"adapter{self._count}"  # never reused: a failure below can leave half an adapter of this name
        try:
            stored = json.loads(Path(files[0]).read_text(encoding="utf-8"))
            config = LoraConfig(task_type="CAUSAL_LM", **{key: stored[key] for key in READ & set(stored)})
            weights = load_file(files[1])
            if odd := [key for key, weight in weights.items() if "lora_" not in key or not weight.isfinite().all()]:
                raise ValueError(f"{odd[0]} is not a LoRA tensor, or not finite")
            if self._peft is None:
                self._peft = PeftModel(self._model, config, adapter_name=name)
            else:
                self._peft.add_adapter(name, config)
            self._peft.eval()
            self._active = "unknown"
            loaded = set_peft_model_state_dict(self._peft, weights, adapter_name=name)
            missing = [key for key in loaded.missing_keys if f".{name}." in key]
            if missing or loaded.unexpected_keys:
                raise ValueError(f"{len(missing)} tensors are missing, {len(loaded.unexpected_keys)} are unexpected")
        except Exception as error:  # peft, torch and safetensors raise many kinds for a broken file
            if self._peft is not None and name in self._peft.peft_config:
                self._drop(name)
            reason = next((line.strip() for line in str(error).splitlines() if "mismatch" in line), str(error)[:200])
            raise Refused(
                f"The adapter {repo} is broken or was trained on another base: {reason.rstrip('.')}."
            ) from None
        return name

    def _drop(self, name: str) -> None:
        if len(self._peft.peft_config) > 1:
            self._peft.delete_adapter(name)
        else:
            self._model, self._peft = self._peft.unload(), None

    def _activate(self, name: str) -> None:
        if name == self._active or self._peft is None:
            return
        if name:
            self._peft.base_model.enable_adapter_layers()
            self._peft.set_adapter(name, inference_mode=True)
        else:
            self._peft.base_model.disable_adapter_layers()
        self._active = name
