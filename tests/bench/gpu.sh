#!/usr/bin/env bash
# NOT RUN ON A GPU. One measurement of recipe single-gpu on one GPU, in at most 12 minutes: GRPO with rollouts by
# transformers, by vLLM (colocate) and on an NF4 base, and sweeps by vLLM and in NF4. It prints steps/s, tokens/s, memory
# and MFU (tests/bench/gpu_table.py). Tried on a CPU in its smallest form: GPU_SMALL=1, which omits vLLM.
#
#   tests/bench/gpu.sh MODEL [WHEELS]
#
# MODEL is the transformers folder of a small chat model. WHEELS is a folder of wheels, for a machine without a package
# index; on one that has it, with the same Python and platform:
#   pip wheel --no-deps -w WHEELS . && pip download -d WHEELS -c constraints.txt '.[train,vllm]'
# Without WHEELS pip uses its index. The problems are the toy world's, so nothing is downloaded.
set -euo pipefail

model=$(cd "${1:?usage: tests/bench/gpu.sh MODEL [WHEELS]}" && pwd)
wheels=${2:+$(cd "$2" && pwd)}
root=$(cd "$(dirname "$0")/../.." && pwd)
out=$(mktemp -d)
export PERMIX_HOME=$out/home HF_HUB_DISABLE_TELEMETRY=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
name=bench/$(basename "$model")
deadline=$((SECONDS + 720))
small=${GPU_SMALL:-}

if [ -n "${GPU_PYTHON:-}" ]; then # an environment that has permix
    python=$GPU_PYTHON
else
    python=$out/venv/bin/python
    extras=train,vllm
    [ -z "$small" ] || extras=train
    python3 -m venv "$out/venv"
    if [ -n "$wheels" ]; then
        "$python" -m pip install -q --no-index --find-links "$wheels" "permix[$extras]"
    else
        "$python" -m pip install -q -c "$root/constraints.txt" "$root[$extras]"
    fi
fi
permix() { "$python" -m permix "$@"; }
echo "== installed after $SECONDS s"

steps=8
limit=16
settings=(--set "base=$name" --set org=bench --set 'benchmarks=["arithmetic"]' --set task.name=arithmetic
    --set task.instruction=boxed --set task.limit=256 --set 'variants=["base", "permix-rlvr"]'
    --set sweep.runs=1 --set sweep.max_tokens=256 --set sweep.draws=20 --set grpo.max_completion_length=256)
if [ -n "$small" ]; then
    steps=2
    limit=1
    settings+=(--set sweep.max_tokens=4 --set sweep.backend=transformers --set grpo.max_completion_length=4
        --set grpo.per_device_train_batch_size=4 --set grpo.gradient_accumulation_steps=1
        --set grpo.num_generations=2)
fi
settings+=(--set "grpo.max_steps=$steps" --set "grpo.save_steps=$((steps / 2))" --set "sweep.limit=$limit")

# watch NAME: every second, the GPU's memory and the newest log of a training, which the runner deletes at its end
watch() {
    while sleep 1; do
        nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null | head -1 >>"$out/$1.memory" || true
        find "$out/$1" -name trainer_state.json -newer "$out/started" -exec cp {} "$out/$1.json" \; 2>/dev/null || true
    done
}

# measure NAME "COMMAND" SETTING...: one command of the recipe under the tag NAME
measure() {
    local tag=$1 command=$2 left=$((deadline - SECONDS)) watcher
    shift 2
    if [ "$left" -lt 45 ]; then
        echo "== $tag omitted: the time is up"
        return
    fi
    echo "== $tag, $left s left"
    touch "$out/started"
    watch "$tag" &
    watcher=$!
    # shellcheck disable=SC2086 # a command of several words
    timeout "$left" "$python" -m permix $command --recipe single-gpu --work "$out/$tag" "${settings[@]}" \
        --set "tag=$tag" "$@" || { echo "== $tag failed"; tail -n 30 "$out/$tag"/logs/*.log || true; }
    kill "$watcher"
    wait "$watcher" 2>/dev/null || true
}

nvidia-smi || echo "no GPU"
permix doctor --recipe single-gpu "${settings[@]}" || true
permix hub import "$model" "$name"
measure plain run
[ -n "$small" ] || measure vllm "grpo permix-rlvr" --set grpo.use_vllm=true
measure nf4 run --set grpo.load_in_4bit=true --set sweep.dtype=nf4 --set sweep.backend=transformers
PYTHONPATH=$root permix hub exec -- "$python" -m tests.bench.gpu_table "$name" "$out" plain vllm nf4
echo "== $SECONDS s in all; logs in $out"
