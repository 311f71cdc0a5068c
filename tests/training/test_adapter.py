"""The adapter that is published is the one that training ended with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from huggingface_hub import HfApi

from permix.stages import sft
from permix.training import adapter, loop
from tests.support.hubs import embedded
from tests.support.trainings import config_of, parts_of

LOAD = """
import sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
base, base_sha, lora, lora_sha, logits = sys.argv[1:]
torch.set_num_threads(1)
plain = AutoModelForCausalLM.from_pretrained(base, revision=base_sha)
model = PeftModel.from_pretrained(plain, lora, revision=lora_sha)
assert AutoTokenizer.from_pretrained(lora, revision=lora_sha).chat_template
loaded, trained = model(torch.arange(5, 25).unsqueeze(0)).logits, torch.load(logits)
assert torch.equal(loaded, trained), (loaded - trained).abs().max()
print(model.peft_config["default"].base_model_name_or_path, model.peft_config["default"].revision)
"""


def test_a_fresh_process_gets_the_logits_of_the_end_of_training(inputs: dict[str, Path], tmp_path: Path) -> None:
    config = config_of("sft", max_steps=2)
    trainer, _ = sft.build(config, inputs, parts_of(tmp_path))
    loop.train(trainer, config)
    trainer.model.eval()
    with torch.inference_mode():
        torch.save(trainer.model(torch.arange(5, 25).unsqueeze(0)).logits.clone(), tmp_path / "logits.pt")

    hub = embedded(tmp_path / "cache")
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("org/tiny")
    base = api.upload_folder(repo_id="org/tiny", folder_path=inputs["base"]).oid
    parts = parts_of(tmp_path)
    parts.sources = {"base": f"org/tiny@{base}"}
    adapter.save(trainer, parts, tmp_path / "out")
    api.create_repo("org/tiny-sft")
    lora = api.upload_folder(repo_id="org/tiny-sft", folder_path=tmp_path / "out").oid
    written = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert written["target_modules"] == sorted(written["target_modules"])

    surroundings = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": str(hub.token), "HF_HOME": str(tmp_path / "hf")}
    command = [sys.executable, "-c", LOAD, "org/tiny", base, "org/tiny-sft", lora, str(tmp_path / "logits.pt")]
    done = subprocess.run(command, env=os.environ | surroundings, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["org/tiny", base]
