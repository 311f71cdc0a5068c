"""GRPO's rollouts by vLLM: its preconditions, and a canary that shows whether its weights follow the adapter.

TRL merges the adapter into the base after every step and sends vLLM all weights. Tested in the trainer's process on a
CPU; not tested on a GPU or with a server, which takes weights over NCCL only.
"""

import json
import os
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from permix.errors import BadInput, PermixError
from permix.sampling.engines.vllm_replica import ENVIRONMENT

if TYPE_CHECKING:
    from permix.training.grpo_settings import Config

DIFFERENCE = "sampling/sampling_logp_difference/mean"
"""TRL's metric: nats between a sampled token's log-probability in vLLM and in the trainer, mean over tokens."""
FACTOR, FLOOR = 5.0, 0.1
"""The largest DIFFERENCE as a multiple of the first step's; below FLOOR a difference is rounding or dropout.

Measured on the tests' tiny model: 0.006 to 0.02 nats after each sync, up to 0.09 with a dropout of 0.05, which only the
trainer's log-probabilities have; without syncs 0.33 after one step and 1.4 after five.
"""
SERVER = (
    'VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --weight-transfer-config \'{"backend": "nccl"}\' '
    "--logprobs-mode processed_logprobs --max-logprobs -1"
)


def prepare(config: "Config", longest: int) -> None:
    """Raise BadInput unless vLLM has room for `longest` tokens, or its server is ready; before any model loads."""
    if config.vllm_mode == "server":
        _check_server(config)
        return
    if longest > config.vllm_max_model_length:
        raise config.refused("vllm_max_model_length", f"at least {longest}: the longest prompt and its completion")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _keep_weights()


def _check_server(config: "Config") -> None:
    url = config.vllm_server_base_url
    try:
        with urllib.request.urlopen(f"{url}/server_info?config_format=json", timeout=30) as reply:  # noqa: S310
            ready = json.load(reply)["vllm_config"]["weight_transfer_config"] is not None
        reason = "it was started without --weight-transfer-config"
    except urllib.error.HTTPError as error:
        ready, reason = False, f"it answers {error.code}"
    except (OSError, ValueError, LookupError) as error:
        ready, reason = False, str(getattr(error, "reason", error))
    if not ready:
        raise BadInput(
            f"[grpo] vllm_server_base_url is {url}, where no vLLM server takes weights ({reason}): start it with "
            f"{SERVER.replace('MODEL', config.base.partition('@')[0])}."
        )


def _keep_weights() -> None:
    """On a CPU, stop vLLM from packing its weights for faster products: packed weights cannot be replaced."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from torch.nn.functional import linear
    from vllm.model_executor.layers import utils

    def leave(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = linear

    utils.dispatch_cpu_unquantized_gemm = leave


def canary() -> Any:
    """Return the callback that ends a training whose rollouts by vLLM do not come from the current adapter.

    At the first step the adapter does nothing, so DIFFERENCE is the rounding between two engines. It stays at that
    level while each sync reaches vLLM, and grows with training otherwise. Rollouts by transformers need no canary: they
    come from the module that is trained.
    """
    from transformers import TrainerCallback

    class Canary(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            if not logs or DIFFERENCE not in logs:
                return
            first = next((entry for entry in state.log_history if DIFFERENCE in entry), logs)[DIFFERENCE]
            if logs[DIFFERENCE] > max(FLOOR, FACTOR * first):
                raise PermixError(
                    f"At step {state.global_step} vLLM's tokens differ by {logs[DIFFERENCE]:.2f} nats from the adapter "
                    f"in training, at the first step by {first:.2f}: its rollouts are not the current adapter's. "
                    "Set [grpo] use_vllm = false, or install the vLLM that TRL names."
                )

    return Canary()
