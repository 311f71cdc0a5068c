"""The libraries that read and write artifacts, unmodified, each in a process of its own with fresh caches."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import HfApi

from embedded_hub.launch import Running

Child = Callable[..., str]


def test_datasets_push_several_configs_to_a_private_repository_and_load_them(child: Child, name: str) -> None:
    child(
        "-c",
        f"""
from datasets import Dataset, DatasetDict
rows = Dataset.from_dict({{"x": list(range(100))}})
both = DatasetDict({{"train": rows, "test": rows.select(range(7))}})
both.push_to_hub("{name}", private=True, num_shards={{"train": 2, "test": 1}})
rows.select(range(3)).push_to_hub("{name}", "second", split="eval")
""",
    )
    shown = child(
        "-c",
        f"""
import json, pandas
from datasets import get_dataset_config_names, load_dataset
both = load_dataset("{name}")
second = load_dataset("{name}", "second", split="eval")
stream = load_dataset("{name}", split="train", streaming=True)
frame = pandas.read_parquet("hf://datasets/{name}/data/test-00000-of-00001.parquet")
total = sum(row["x"] for row in stream)
print(json.dumps([sorted(get_dataset_config_names("{name}")), both.num_rows, len(second), total, len(frame)]))
""",
    )
    assert json.loads(shown.splitlines()[-1]) == [["default", "second"], {"train": 100, "test": 7}, 3, 4950, 7]


def test_tiny_llama_tokenizer_and_adapter_come_back_with_equal_logits(child: Child, name: str, api: HfApi) -> None:
    shown = child(
        "-c",
        f"""
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
torch.set_num_threads(1)
torch.manual_seed(0)
sizes = dict(vocab_size=8, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
words = {{word: n for n, word in enumerate("abcdefg")}} | {{"<unk>": 7}}
tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, "<unk>")), unk_token="<unk>")
LlamaForCausalLM(LlamaConfig(**sizes)).push_to_hub("{name}-base")
tokenizer.push_to_hub("{name}-base")
base = AutoModelForCausalLM.from_pretrained("{name}-base")
tuned = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights=False))
tuned.push_to_hub("{name}")
ids = torch.tensor([[1, 2, 3]])
expected = tuned(ids).logits
fresh = AutoModelForCausalLM.from_pretrained("{name}-base")
assert AutoTokenizer.from_pretrained("{name}-base").encode("c") == [2]
assert not torch.equal(fresh(ids).logits, expected)
assert torch.equal(PeftModel.from_pretrained(fresh, "{name}").eval()(ids).logits, tuned.eval()(ids).logits)
print("equal")
""",
    )
    assert shown.splitlines()[-1] == "equal"
    weights = next(file for file in api.model_info(name, files_metadata=True).siblings or [] if file.lfs)
    assert weights.rfilename == "adapter_model.safetensors"


def test_evaluate_loads_a_metric_with_its_own_module_also_at_an_older_commit(
    child: Child, api: HfApi, name: str
) -> None:
    metric = """
import datasets
import evaluate
from .half_core import half
class Half(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(description="", citation="", inputs_description="",
            features=datasets.Features({"predictions": datasets.Value("float32")}))
    def _compute(self, predictions):
        return {"half": half(predictions)}
"""
    space = f"{name.split('/')[0]}/half"
    api.create_repo(space, repo_type="space", space_sdk="static")
    upload = {"repo_id": space, "repo_type": "space"}
    api.upload_file(path_or_fileobj=metric.encode(), path_in_repo="half.py", **upload)
    api.upload_file(path_or_fileobj=b"def half(xs): return sum(xs) / 2\n", path_in_repo="half_core.py", **upload)
    first = api.space_info(space).sha
    api.upload_file(path_or_fileobj=b"def half(xs): return -1\n", path_in_repo="half_core.py", **upload)
    load = f"""
import evaluate
for revision in ("main", "{first}"):
    print(evaluate.load("{space}", revision=revision).compute(predictions=[1, 3]))
"""
    assert child("-c", load).splitlines()[-2:] == ["{'half': -1}", "{'half': 2.0}"]


def test_hf_command_uploads_downloads_and_shows_the_user(child: Child, name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("text")
    (tmp_path / "folder" / "w.safetensors").write_bytes(b"\0" * 5000)
    hf = str(Path(sys.executable).parent / "hf")
    assert "permix" in child(hf, "auth", "whoami")
    child(hf, "upload", name, str(tmp_path / "folder"))
    child(hf, "download", name, "--local-dir", str(tmp_path / "back"))
    assert (tmp_path / "back" / "a.txt").read_text() == "text"
    assert (tmp_path / "back" / "w.safetensors").read_bytes() == b"\0" * 5000


def test_git_clones_a_private_repository_with_a_token_and_may_not_push(
    running: Running, api: HfApi, name: str, tmp_path: Path
) -> None:
    api.create_repo(name, private=True)
    api.upload_file(path_or_fileobj=b"text", path_in_repo="d/a.txt", repo_id=name)
    address = f"{running.url}/{name}".replace("http://", f"http://user:{running.token}@")

    def git(*words: str) -> "subprocess.CompletedProcess[str]":
        environment = {"PATH": "/usr/bin:/bin", "GIT_TERMINAL_PROMPT": "0", "HOME": str(tmp_path), "LC_ALL": "C"}
        return subprocess.run(["git", *words], cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert git("clone", f"{running.url}/{name}", "stranger").returncode != 0
    assert git("clone", address, "mine").returncode == 0
    assert (tmp_path / "mine" / "d" / "a.txt").read_text() == "text"
    assert git("-C", "mine", "fsck", "--strict").returncode == 0
    assert git("clone", "--filter=blob:none", address, "partial").returncode == 0
    assert (tmp_path / "partial" / "d" / "a.txt").read_text() == "text"
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    assert git("-C", "mine", *identity, "commit", "--allow-empty", "-m", "more").returncode == 0
    assert "403" in git("-C", "mine", "push").stderr
