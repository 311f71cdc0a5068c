"""The transformers back end on a tiny real model: what it samples, resuming, adapters, errors."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from permix.errors import BadInput, PermixError
from permix.sampling.engines import open_engine
from permix.sampling.engines.decoding import decode
from permix.sampling.engines.local import dtype_of
from permix.sampling.engines.token_choice import TokenChooser
from permix.sampling.engines.transformers_sampler import plan
from permix.sampling.sampler import Adapter, EncodedRequest, Engine, Request, Sampler, Sampling
from permix.training.model import load_base
from tests.support.models import adapters_without_effect, make_adapter, make_tiny_model
from tests.support.sampling import by_id, kill_while_sampling, requests
from tests.support.trainings import config_of


def reference(base: Path, request: Request) -> tuple[str, int, int, str]:
    """Greedy decoding of one prompt by transformers' own `generate`: text, tokens in and out, finish."""
    import peft

    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base)
    if request.adapter:
        model = peft.PeftModel.from_pretrained(model, request.adapter.path)
    prompt = tokenizer.apply_chat_template(
        request.messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    out = model.generate(**prompt, do_sample=False, max_new_tokens=request.sampling.max_tokens)[0]
    new = out[prompt["input_ids"].shape[1] :].tolist()
    finish = "stop" if new[-1] == tokenizer.eos_token_id else "length"
    return tokenizer.decode(new, skip_special_tokens=True), len(out) - len(new), len(new), finish


def test_greedy_decoding_equals_generate(base: Path, engine: Sampler) -> None:
    batch = requests(24, temperature=0.0)
    got = by_id(engine.sample(batch))
    for r in batch:
        c = got[r.id]
        assert (c.text, c.tokens_in, c.tokens_out, c.finish) == reference(base, r)
    assert {c.finish for c in got.values()} == {"stop", "length"}
    assert next(iter(got.values())).engine.split()[2:] == ["cpu", "float32"]


@pytest.mark.parametrize("size", [1, 7, 64])
def test_batch_mates_and_order_do_not_matter(base: Path, engine: Sampler, size: int) -> None:
    batch = requests()
    expected = by_id(engine.sample(batch))
    other = open_engine(Engine(base, batch_size=size))
    assert by_id(other.sample(batch[::-1])) == expected


def test_equal_prompts_with_other_seeds_differ(engine: Sampler) -> None:
    request = requests(1, temperature=1.5)[0]
    batch = [Request(f"run{i}", request.messages, request.sampling, i) for i in range(20)]
    assert len({c.text for c in engine.sample(batch)}) == 20


def test_settings_may_differ_in_one_batch(engine: Sampler) -> None:
    hot, cold = requests(8, temperature=2.0, top_p=0.7, max_tokens=5), requests(8, temperature=0.0, max_tokens=20)
    mixed = [h if i % 2 else c for i, (h, c) in enumerate(zip(hot, cold, strict=True))]
    expected = by_id(engine.sample(hot)), by_id(engine.sample(cold))
    for i, (name, c) in enumerate(sorted(by_id(engine.sample(mixed)).items())):
        assert c == expected[0 if i % 2 else 1][name]
        assert c.tokens_out <= (5 if i % 2 else 20)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 0.6)])
def test_first_tokens_have_the_models_distribution(base: Path, temperature: float, top_p: float) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    prompt = [5, 60, 61, 4]
    n = 20_000
    with torch.no_grad():
        p = torch.softmax(model(torch.tensor([prompt])).logits[0, -1].double() / temperature, -1)
    ordered, order = p.sort(descending=True)
    p[order[ordered.cumsum(0) - ordered >= top_p]] = 0
    p /= p.sum()
    rows = [EncodedRequest(prompt, Sampling(temperature, top_p, max_tokens=1), seed) for seed in range(n)]
    choose = TokenChooser(rows, torch.device("cpu"))
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[:, -1].expand(n, -1)
        seen = torch.bincount(choose(logits, torch.arange(n), 0), minlength=len(tokenizer)).double()
    assert seen[p == 0].sum() == 0
    common = p * n >= 5
    expected = torch.cat([p[common], p[~common].sum()[None]]) * n
    observed = torch.cat([seen[common], seen[~common].sum()[None]])
    chi2 = float(((observed - expected)[expected > 0] ** 2 / expected[expected > 0]).sum())
    freedom = int((expected > 0).sum()) - 1
    assert freedom >= 10
    assert abs(chi2 - freedom) < 4 * (2 * freedom) ** 0.5  # fixed seeds: it passes always or never


def test_later_tokens_follow_the_model_too(base: Path, engine: Sampler) -> None:
    """Replay each completion through the model: the token drawn at a step is where its uniform number falls."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    ends, row = [tokenizer.eos_token_id], EncodedRequest([3, 70, 80, 90, 4], Sampling(max_tokens=12), 5)
    others = [EncodedRequest([3] + [50 + i] * i + [4], Sampling(max_tokens=4 + i), i) for i in range(1, 30)]
    outcome = decode(model, tokenizer, ends, [*others, row])[-1]
    tokens: list[int] = []
    choose = TokenChooser([row], torch.device("cpu"))
    with torch.inference_mode():
        while len(tokens) < outcome.tokens:
            whole = model(torch.tensor([row.prompt + tokens])).logits[:, -1]
            tokens.append(int(choose(whole, torch.tensor([0]), len(tokens))))
    assert tokenizer.decode(tokens, skip_special_tokens=True) == outcome.text
    assert outcome.finish == ("stop" if tokens[-1] in ends else "length")


def test_a_stop_string_ends_a_completion_and_is_not_part_of_it(engine: Sampler) -> None:
    batch = requests(24)
    free = by_id(engine.sample(batch))
    stop = ("qu", "e", "Z")
    stopped = by_id(
        engine.sample([Request(r.id, r.messages, Sampling(max_tokens=30, stop=stop), r.seed) for r in batch])
    )
    hits = 0
    for name, c in stopped.items():
        at = [i for i in (free[name].text.find(s) for s in stop) if i >= 0]
        assert c.text == (free[name].text[: min(at)] if at else free[name].text)
        assert c.finish == ("stop" if at else free[name].finish)
        assert c.tokens_out <= free[name].tokens_out
        hits += bool(at)
    assert 0 < hits < len(batch)


def test_plan_is_a_fixed_function_of_the_set(adapters: list[Adapter]) -> None:
    batch = [r for a in (None, *adapters) for r in requests(20, adapter=a)]
    batch = [Request(f"{i}", r.messages, r.sampling, r.seed, r.adapter) for i, r in enumerate(batch)]
    lengths = {r.id: len(json.dumps(r.messages)) for r in batch}
    batches = plan(batch, lengths, 8)
    assert batches == plan(batch[::-1], lengths, 8)
    assert sorted(r.id for b in batches for r in b) == sorted(r.id for r in batch)
    assert all(len({r.adapter for r in b}) == 1 for b in batches)
    assert all(len(b) <= 8 for b in batches)
    assert len(batches) == 9


def test_progress_counts_completions(engine: Sampler) -> None:
    reports: list[tuple[float, float, str]] = []
    list(engine.sample(requests(20), progress=lambda done, total, unit, note="": reports.append((done, total, unit))))
    assert reports == [(0, 20, "completions"), (16, 20, "completions"), (20, 20, "completions")]


def test_no_requests_give_no_completions(engine: Sampler, tmp_path: Path) -> None:
    assert list(engine.sample([], tmp_path / "journal")) == []


def test_after_a_kill_the_rest_is_sampled_bit_equal(base: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    kill_while_sampling(f"Engine(Path({str(base)!r}), batch_size=4)", "requests()", journal, last=17)
    assert len(journal.read_bytes().splitlines()) == 1 + 5 + 1

    fresh = open_engine(Engine(base, batch_size=4))
    reports: list[float] = []
    resumed = list(fresh.sample(requests(), journal, lambda done, total, unit, note="": reports.append(done)))
    undisturbed = list(fresh.sample(requests(), tmp_path / "other"))
    assert reports[0] == 20
    assert (len(resumed), resumed) == (40, undisturbed)
    assert journal.read_bytes() == (tmp_path / "other").read_bytes()


def test_a_journal_of_another_seed_is_not_used(engine: Sampler, tmp_path: Path) -> None:
    first = requests(4)
    again = [Request(r.id, r.messages, r.sampling, r.seed + 1) for r in first]
    list(engine.sample(first, tmp_path / "journal"))
    notes: list[str] = []
    got = by_id(engine.sample(again, tmp_path / "journal", lambda done, total, unit, note="": notes.append(note)))
    assert "other requests" in notes[0]
    assert got == by_id(engine.sample(again))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "nf4", "nf4-nested"])
def test_adapters_switch_in_one_call_and_leave_the_base_alone(base: Path, adapters: list[Adapter], dtype: str) -> None:
    opened = open_engine(Engine(base, dtype=dtype))
    plain = by_id(opened.sample(requests(6, temperature=0.0)))
    by_adapter = [by_id(opened.sample(requests(6, temperature=0.0, adapter=a))) for a in adapters]
    assert plain == by_id(opened.sample(requests(6, temperature=0.0)))
    batch = [
        Request(f"{r.id} {k}", r.messages, r.sampling, r.seed, r.adapter)
        for k, a in enumerate((None, *adapters))
        for r in requests(6, temperature=0.0, adapter=a)
    ]
    mixed = by_id(opened.sample(batch))
    for k, alone in enumerate((plain, *by_adapter)):
        assert {n: c.text for n, c in alone.items()} == {n[:-2]: c.text for n, c in mixed.items() if n[-1] == str(k)}
    assert (mixed["r000 1"].adapter_digest, mixed["r000 0"].adapter_digest) == (adapters[0].digest, "")
    texts = [tuple(c.text for c in alone.values()) for alone in (plain, *by_adapter)]
    assert len(set(texts)) == 3
    assert opened.dtype == dtype
    assert mixed["r000 0"].engine.endswith(f" {dtype}")


@pytest.mark.parametrize("nested", [False, True])
def test_a_4_bit_base_under_an_adapter_is_that_of_qlora(base: Path, adapters: list[Adapter], nested: bool) -> None:
    """Token by token, the greedy text is what peft gives on the base as training/model.py loads it."""
    import peft

    config = config_of("sft", load_in_4bit=True, use_bnb_nested_quant=nested)
    trained_on = peft.PeftModel.from_pretrained(load_base(config, base), adapters[0].path).eval()
    tokenizer = AutoTokenizer.from_pretrained(base)
    request = requests(1, temperature=0.0, max_tokens=20, adapter=adapters[0])[0]
    prompt = tokenizer.apply_chat_template(request.messages, add_generation_prompt=True)["input_ids"]
    out = trained_on.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=20)[0][len(prompt) :]
    opened = open_engine(Engine(base, dtype="nf4-nested" if nested else "nf4"))
    (got,) = opened.sample([request])
    assert (got.text, got.tokens_out) == (tokenizer.decode(out, skip_special_tokens=True), len(out))


def test_an_adapter_gives_the_completions_of_peft(base: Path, engine: Sampler, adapters: list[Adapter]) -> None:
    for adapter in adapters:
        batch = requests(5, temperature=0.0, adapter=adapter)
        got = by_id(engine.sample(batch))
        assert [got[r.id].text for r in batch] == [reference(base, r)[0] for r in batch]


def test_an_untrained_adapter_is_the_base(base: Path, engine: Sampler, tmp_path: Path) -> None:
    zero = make_adapter(base, tmp_path / "zero", seed=0, std=0)
    got = by_id(engine.sample(requests(5, adapter=zero)))
    assert [c.text for c in got.values()] == [c.text for c in by_id(engine.sample(requests(5))).values()]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "nf4"])
def test_an_adapter_without_effect_is_refused(base: Path, adapters: list[Adapter], tmp_path: Path, dtype: str) -> None:
    opened = open_engine(Engine(base, dtype=dtype))
    for adapter in adapters_without_effect(adapters[0], tmp_path, "names", "half", "dead"):
        with pytest.raises(PermixError, match=r"The adapter .* has no effect"):
            list(opened.sample(requests(2, adapter=adapter)))
    assert by_id(opened.sample(requests(2)))["r000"].adapter_digest == ""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapter_of_another_base_is_one_sentence(base: Path, tmp_path: Path, dtype: str) -> None:
    make_tiny_model(tmp_path / "wide", hidden=96)
    foreign = make_adapter(tmp_path / "wide", tmp_path / "adapter", seed=0)
    opened = open_engine(Engine(base, dtype=dtype))
    before = by_id(opened.sample(requests(4, temperature=0.0)))
    with pytest.raises(BadInput, match=r"does not fit the base .* it was trained for .*wide, use that \(size mismatch"):
        list(opened.sample(requests(2, adapter=foreign)))
    assert by_id(opened.sample(requests(4, temperature=0.0))) == before


def test_a_folder_that_is_not_an_adapter_is_refused(base: Path, engine: Sampler) -> None:
    with pytest.raises(BadInput, match=r"holds no adapter_config\.json"):
        list(engine.sample(requests(1, adapter=Adapter(base, "x"))))


def test_a_prompt_that_does_not_fit_names_both_numbers(engine: Sampler) -> None:
    with pytest.raises(BadInput, match=r"'r000' needs \d+ prompt tokens \+ max_tokens 2048 = .* has 2048 positions"):
        engine.sample(requests(1, max_tokens=2048))


def test_a_tokenizer_without_chat_template_is_refused(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "bare")
    (tmp_path / "bare" / "chat_template.jinja").unlink()
    with pytest.raises(BadInput, match=f"{tmp_path}/bare has no chat template, .*: use the instruct version"):
        open_engine(Engine(tmp_path / "bare"))
    cached = tmp_path / "models--org--bare" / "snapshots" / "1a2b"
    shutil.copytree(tmp_path / "bare", cached)
    with pytest.raises(BadInput, match=r"^org/bare has no chat template"):
        open_engine(Engine(cached))


def test_a_template_that_refuses_a_message_is_one_sentence(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "strict")
    (tmp_path / "strict" / "chat_template.jinja").write_text("{{ raise_exception('System role not supported') }}")
    opened = open_engine(Engine(tmp_path / "strict"))
    with pytest.raises(BadInput, match=r"rejects a lone user message \(System role not supported\)"):
        opened.sample(requests(1))


def test_a_tokenizer_without_pad_token_gives_the_same(base: Path, engine: Sampler, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "padless")
    for name in ("tokenizer_config.json", "config.json"):
        path = tmp_path / "padless" / name
        config = {k: v for k, v in json.loads(path.read_text()).items() if not k.startswith("pad_token")}
        path.write_text(json.dumps(config))
    opened = open_engine(Engine(tmp_path / "padless"))
    assert by_id(opened.sample(requests(20))) == by_id(engine.sample(requests(20)))


@pytest.mark.parametrize(
    "named", [{"dtype": "bfloat16"}, {"torch_dtype": "bfloat16"}, {"text_config": {"dtype": "bfloat16"}}]
)
def test_a_base_runs_in_the_precision_that_its_configuration_names(named: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(named))
    assert dtype_of(Engine(tmp_path)) == "bfloat16"


def test_a_base_without_a_named_precision_runs_in_that_of_its_tensors(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2, dtype=torch.float16)}, tmp_path / "model.safetensors")
    assert dtype_of(Engine(tmp_path)) == "float16"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_files_of_a_base_that_are_cut_short_are_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_bytes(b"{")
    with pytest.raises(BadInput, match="does not load as a causal language model"):
        open_engine(Engine(tmp_path))


@pytest.mark.parametrize("dtype", ["int8", "fp32"])
def test_an_unknown_dtype_is_refused(base: Path, dtype: str) -> None:
    with pytest.raises(BadInput, match="should be auto, float32, bfloat16, float16, nf4 or nf4-nested"):
        open_engine(Engine(base, dtype=dtype))


def test_weights_that_do_not_load_are_one_sentence(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "empty")
    (tmp_path / "empty" / "model.safetensors").unlink()
    with pytest.raises(BadInput, match="does not load as a causal language model"):
        open_engine(Engine(tmp_path / "empty"))


def test_layers_with_a_sliding_window_decode_like_generate(base: Path, tmp_path: Path) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    shutil.copytree(base, tmp_path / "sliding")
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=261, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, sliding_window=16, initializer_range=0.15, pad_token_id=0, eos_token_id=1,
        bos_token_id=None,
    )  # fmt: skip
    Gemma2ForCausalLM(config).save_pretrained(tmp_path / "sliding")
    batch = requests(12, temperature=0.0)
    got = by_id(open_engine(Engine(tmp_path / "sliding")).sample(batch))
    assert [got[r.id].text for r in batch] == [reference(tmp_path / "sliding", r)[0] for r in batch]
