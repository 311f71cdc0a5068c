"""One base model in memory and the adapters that speak through it, token by token."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from catalog import CONFIG, Refused, asked, config_of
from huggingface_hub import HfApi, hf_hub_download
from jinja2 import TemplateError
from peft import LoraConfig, PeftModel
from peft.utils import set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

MOST_ADAPTERS = 16  # in memory at once; the one that spoke longest ago makes room
MOST_BYTES = 2_000_000_000  # of one adapter's file
MOST_CONFIG = 1_000_000  # bytes
MOST_SECONDS = 120  # of one answer
TEMPLATE = {"date_string": "26 Jul 2024"}  # Llama's template would else put today's date into the prompt
WEIGHTS = "adapter_model.safetensors"
READ = {"r", "lora_alpha", "target_modules", "use_rslora", "use_dora", "fan_in_fan_out", "layers_to_transform"}
"""What is read of an adapter_config.json. Nothing else of a stranger's file may change the base or import a module."""
UNKNOWN = ("modules_to_save", "layer_replication", "target_parameters", "trainable_token_indices", "megatron_config")
UNKNOWN += ("alora_invocation_tokens", "use_qalora", "use_bdlora", "lora_bias", "arrow_config", "layers_pattern")
UNKNOWN += ("rank_pattern", "alpha_pattern", "exclude_modules")
MOST_RANK = 512


@dataclass(frozen=True)
class Ask:
    """One answer to give: the chat so far, by which adapter ("" for the base alone), and with which noise."""

    messages: tuple[tuple[str, str], ...]  # (role, content)
    adapter: str
    seed: int
    temperature: float
    max_tokens: int


class Speaker:
    """Answers through one base; switching adapters loads nothing again. Safe to use from several threads."""

    def __init__(self, device: str) -> None:
        self._device, self._lock = device, threading.RLock()
        self.base = ""  # repo or repo@revision, once it is loaded
        self._model: Any = None
        self._peft: Any = None
        self._tokenizer: Any = None
        self._ends: set[int] = set()
        self._names: dict[str, str] = {}  # repo@sha -> peft's name, the last used last
        self._made, self._active = 0, ""

    def load(self, base: str) -> None:
        """Load the base, once."""
        with self._lock:
            if self.base:
                return
            repo, _, revision = base.partition("@")
            dtype = "auto" if self._device == "cpu" else torch.bfloat16
            settings = {"revision": revision or None, "use_safetensors": True}
            try:
                model = AutoModelForCausalLM.from_pretrained(repo, dtype=dtype, **settings).to(self._device).eval()
                self._tokenizer = AutoTokenizer.from_pretrained(repo, revision=revision or None)
            except (OSError, ValueError) as error:
                kind = type(error).__name__
                raise Refused(f"The base {base} could not be loaded ({kind}): try again later.") from None
            ends = (self._tokenizer.eos_token_id, model.config.eos_token_id, model.generation_config.eos_token_id)
            self._ends = {t for end in ends for t in (end if isinstance(end, list) else [end]) if t is not None}
            self._model, self.base = model, base

    def find(self, repo: str, api: HfApi) -> str:
        """`repo@sha` of an adapter that may speak through the base, its files on disk; Refused otherwise."""
        info = asked(repo, lambda: api.model_info(repo, files_metadata=True, timeout=15))
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        size = sizes.get(WEIGHTS, 0)
        if size > MOST_BYTES:
            raise Refused(
                f"The adapter {repo} has {size / 1e9:.1f} GB: up to {MOST_BYTES / 1e9:.0f} GB are loaded here."
            )
        if sizes.get(CONFIG, 0) > MOST_CONFIG:
            raise Refused(
                f"The {CONFIG} of {repo} is larger than any that peft writes: save the adapter again with it."
            )
        config = config_of(repo, info.sha)
        name, _, revision = self.base.partition("@")
        theirs, pinned = config.get("base_model_name_or_path"), config.get("revision")
        if theirs != name or (pinned and revision and pinned != revision):
            made = f"{theirs}@{pinned}" if theirs == name else str(theirs)
            raise Refused(f"The adapter {repo} was made for the base {made[:100]}: this page runs {self.base}.")
        if config.get("peft_type") != "LORA":
            raise Refused(
                f"{repo} is no LoRA adapter but {str(config.get('peft_type'))[:40]}: only LoRA is loaded here."
            )
        if odd := [key for key in UNKNOWN if config.get(key)]:
            raise Refused(f"The adapter {repo} uses {odd[0]}, which this page does not load.")
        targets, rank = config.get("target_modules"), config.get("r")
        if not (isinstance(targets, list) and isinstance(rank, int) and 0 < rank <= MOST_RANK):
            raise Refused(f"The adapter {repo} should have a list of target_modules and r up to {MOST_RANK}.")
        asked(repo, lambda: hf_hub_download(repo, WEIGHTS, revision=info.sha))
        return f"{repo}@{info.sha}"

    def answers(self, asks: list[Ask]) -> Iterator[tuple[list[str], bool]]:
        """The texts so far, and whether they are whole: all grow at the same time, a token each. Refused as `find`."""
        for ask in asks:
            self._name(ask.adapter)
        voices = [self._answer(ask) for ask in asks]
        texts, going = ["" for _ in asks], set(range(len(asks)))
        while going:
            for i in sorted(going):
                try:
                    texts[i] = next(voices[i])
                except StopIteration:
                    going.discard(i)
            yield list(texts), not going

    @torch.inference_mode()
    def _answer(self, ask: Ask) -> Iterator[str]:
        ids, cache = self._prompt(ask), DynamicCache()
        noise = torch.Generator().manual_seed(ask.seed)
        tokens: list[int] = []
        deadline = time.monotonic() + MOST_SECONDS
        while len(tokens) < ask.max_tokens and time.monotonic() < deadline:
            with self._lock:  # for one token: other visitors' answers go on in between
                self._activate(self._name(ask.adapter))
                logits = self._model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
            token = _pick(logits[0, -1].float().cpu(), ask.temperature, noise)
            if token in self._ends:
                return
            tokens.append(token)
            ids = torch.tensor([[token]], device=self._device)
            yield self._tokenizer.decode(tokens, skip_special_tokens=True).rstrip("\ufffd").strip()

    def _prompt(self, ask: Ask) -> torch.Tensor:
        messages = [{"role": role, "content": content} for role, content in ask.messages]
        try:
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **TEMPLATE)
        except TemplateError:
            raise Refused(f"{self.base} takes no system prompt: choose the persona none.") from None
        ids = self._tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        room = getattr(self._model.config, "max_position_embeddings", None)
        if room and ids.shape[1] + ask.max_tokens > room:
            have = f"{ids.shape[1]} tokens and an answer of {ask.max_tokens}"
            raise Refused(f"The chat has {have}, but the model reads {room}: shorten it, or clear the chat.")
        return ids.to(self._device)

    def _name(self, adapter: str) -> str:
        """Peft's name of an adapter (`repo@sha`), loaded if it is not."""
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
        self._made += 1
        name = f"adapter{self._made}"  # never used again: half an adapter may bear it when the next lines fail
        try:
            stored = json.loads(Path(files[0]).read_text(encoding="utf-8"))
            config = LoraConfig(task_type="CAUSAL_LM", **{key: stored[key] for key in READ & set(stored)})
            weights = load_file(files[1])
            if self._peft is None:
                self._peft = PeftModel(self._model, config, adapter_name=name)
            else:
                self._peft.add_adapter(name, config)
            self._peft.eval()
            self._active = "unknown"
            loaded = set_peft_model_state_dict(self._peft, weights, adapter_name=name)
            missing = [key for key in loaded.missing_keys if f".{name}." in key]
            if missing or loaded.unexpected_keys:
                raise ValueError(f"{len(missing)} tensors are missing, {len(loaded.unexpected_keys)} have no place")
        except Exception as error:  # whatever a broken file makes peft, torch or safetensors raise
            if self._peft is not None and name in self._peft.peft_config:
                self._drop(name)
            reason = next((line.strip() for line in str(error).splitlines() if "mismatch" in line), str(error)[:200])
            raise Refused(f"The adapter {repo} is broken or of another base: {reason.rstrip('.')}.") from None
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


def _pick(logits: torch.Tensor, temperature: float, noise: torch.Generator) -> int:
    """The next token, by inverting the distribution at a uniform number: equal seeds are equal noise, side by side."""
    if temperature == 0:
        return int(logits.argmax())
    cumulated = torch.softmax(logits / temperature, -1).cumsum(-1, dtype=torch.float64)
    at = torch.rand(1, generator=noise, dtype=torch.float64) * cumulated[-1]
    return int(torch.searchsorted(cumulated, at, right=True).clamp(max=len(logits) - 1))
