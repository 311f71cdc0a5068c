"""`permix hub import MODEL.gguf`: the repository is the model that transformers reads, or there is one sentence."""

import importlib.util
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from permix.errors import BadInput, PermixError
from permix.publishing import gguf_card, gguf_check, gguf_header, gguf_import
from permix.sampling.engines import memory
from permix.sampling.engines.transformers_sampler import TransformersSampler
from permix.sampling.sampler import Engine, Request, Sampling
from tests.support.gguf_files import write_gguf
from tests.support.hub_command import PERMIX_HUB, permix_hub
from tests.support.kills import hub_of
from tests.support.models import make_tiny_model
from tests.support.servers import stop
from tests.support.wire import PIPELINES

Q8 = dict.fromkeys(("token_embd", "output", "attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up", "ffn_down"), "Q8_0")
PROMPT = torch.tensor([[3, 20, 30, 40, 50, 1, 4]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    make_tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    yield home
    stop(home / "hub", signal.SIGKILL)


def convert(path: Path, folder: Path, dtype: str = "bfloat16") -> Path:
    folder.mkdir()
    return gguf_import.convert(path, gguf_check.check(path, dtype, folder), "lab/tiny", dtype, folder)


def logits(folder: Path, **settings: Any) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, **settings)
    with torch.no_grad():
        return torch.as_tensor(model(PROMPT).logits)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_an_import_has_the_logits_of_the_file_read_by_transformers(base: Path, tmp_path: Path, dtype: str) -> None:
    path = write_gguf(base, tmp_path / "tiny.gguf", types=Q8)
    out = convert(path, tmp_path / "work", dtype)
    direct = logits(tmp_path, gguf_file="tiny.gguf", dtype=getattr(torch, dtype))
    assert torch.equal(logits(out, dtype="auto"), direct)


def test_the_same_file_gives_the_same_bytes(base: Path, tmp_path: Path) -> None:
    path = write_gguf(base, tmp_path / "tiny.gguf", types=Q8)
    first, second = convert(path, tmp_path / "first"), convert(path, tmp_path / "second")
    assert [p.read_bytes() for p in sorted(first.iterdir())] == [p.read_bytes() for p in sorted(second.iterdir())]


def test_unquantised_weights_come_back_as_they_were(base: Path, tmp_path: Path) -> None:
    out = convert(write_gguf(base, tmp_path / "tiny.gguf"), tmp_path / "work", "float32")
    assert torch.equal(logits(out), logits(base))


def test_an_import_is_sampled_with_its_own_tokenizer_and_template(base: Path, tmp_path: Path) -> None:
    out = convert(write_gguf(base, tmp_path / "tiny.gguf", types=Q8), tmp_path / "work")
    request = Request("a", [{"role": "user", "content": "3 + 4?"}], Sampling(max_tokens=4), seed=1)
    (completion,) = TransformersSampler(Engine(out)).sample([request])
    assert completion.tokens_in == len("3 + 4?") + 2
    text = "Ünïcode  漢字\n12345 <|user|>x"
    original, imported = (AutoTokenizer.from_pretrained(folder)(text)["input_ids"] for folder in (base, out))
    assert imported == original


def test_the_generation_config_has_every_end_token(base: Path, tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "model")
    page = tmp_path / "model" / "tokenizer.json"
    page.write_text(page.read_text().replace("<|assistant|>", "<|im_end|>"))
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        page = tmp_path / "model" / name
        page.write_text(page.read_text().replace("<|assistant|>", "<|im_end|>"))
    metadata = {"tokenizer.ggml.eot_token_id": 2}
    out = convert(write_gguf(tmp_path / "model", tmp_path / "tiny.gguf", metadata=metadata), tmp_path / "work")
    assert GenerationConfig.from_pretrained(out).eos_token_id == [1, 2, 4]


def test_a_tied_model_is_tied_again_with_the_finer_rounding(base: Path, tmp_path: Path) -> None:
    types = {"token_embd": "Q4_0", "output": "F16"}
    out = convert(write_gguf(base, tmp_path / "tiny.gguf", types=types, tied=True), tmp_path / "work", "float32")
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.config.tie_word_embeddings is True
    embedding = AutoModelForCausalLM.from_pretrained(base).get_input_embeddings().weight
    assert torch.equal(model.get_output_embeddings().weight, embedding.half().float())
    untied = convert(write_gguf(base, tmp_path / "untied.gguf", types=types), tmp_path / "untied", "float32")
    assert json.loads((untied / "config.json").read_text())["tie_word_embeddings"] is False


def test_the_scaled_positions_of_llama_3_come_back(base: Path, tmp_path: Path) -> None:
    scaled = tmp_path / "scaled"
    make_tiny_model(scaled)
    config = json.loads((scaled / "config.json").read_text())
    rope = {"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0}
    config["rope_parameters"] = rope | {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    (scaled / "config.json").write_text(json.dumps(config))
    rotary = AutoModelForCausalLM.from_pretrained(scaled).model.rotary_emb
    factors = 500_000.0 ** -(torch.arange(0, 32, 2) / 32) / rotary.inv_freq
    out = convert(write_gguf(scaled, tmp_path / "tiny.gguf", factors=factors), tmp_path / "work", "float32")
    assert torch.equal(logits(out), logits(scaled))
    with pytest.raises(BadInput, match="scaled in another way"):
        convert(write_gguf(scaled, tmp_path / "other.gguf", factors=factors**2), tmp_path / "other")


def test_the_card_names_original_licence_and_quantisation(base: Path, tmp_path: Path) -> None:
    metadata = {
        "general.license": "apache-2.0", "general.file_type": 15,
        "general.base_model.0.repo_url": "https://huggingface.co/org/Tiny-Instruct",
    }  # fmt: skip
    out = convert(write_gguf(base, tmp_path / "tiny.gguf", metadata=metadata), tmp_path / "work")
    _, head, page = (out / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(head) == {
        "license": "apache-2.0", "base_model": "org/Tiny-Instruct", "base_model_relation": "quantized",
        "library_name": "transformers", "pipeline_tag": "text-generation",
    }  # fmt: skip
    assert "[org/Tiny-Instruct](https://huggingface.co/org/Tiny-Instruct), read from" in page
    assert "`tiny.gguf` (Q4_K_M)" in page


def test_a_licence_that_is_not_an_identifier_is_other(base: Path, tmp_path: Path) -> None:
    path = write_gguf(base, tmp_path / "tiny.gguf", metadata={"general.license": "My Licence 2"})
    page = gguf_card.render(path, gguf_header.read(path), "lab/tiny", "bfloat16", 1234)
    assert page.startswith("---\nlicense_name: My Licence 2\nlicense: other\nlibrary_name: transformers\n")
    assert "tiny.gguf` (F32)" in page
    assert "| weights | 1,234 |" in page


def test_a_file_without_chat_template_is_imported_with_a_note(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = convert(write_gguf(base, tmp_path / "tiny.gguf", template=""), tmp_path / "work")
    assert "lacks a chat template" in capsys.readouterr().err
    with pytest.raises(BadInput, match=r"use the instruct version of the model, or add chat_template\.jinja"):
        TransformersSampler(Engine(out))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"tokenizer": False}, "lacks a tokenizer"),
        ({"architecture": "rwkv7"}, "is not read by transformers .*rwkv7.*original model"),
        ({"metadata": {"split.count": 3}}, "one of 3 parts"),
        ({"metadata": {"general.type": "adapter"}}, "of type 'adapter'"),
        ({"metadata": {"llama.rope.scaling.type": "yarn"}}, r"scaled \(yarn\)"),
        ({"metadata": {"split.count": 1, "general.type": "imatrix"}}, "of type 'imatrix'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    base: Path, tmp_path: Path, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        convert(write_gguf(base, tmp_path / "tiny.gguf", **settings), tmp_path / "work")


def test_a_quantisation_that_is_not_read_is_refused(base: Path, tmp_path: Path) -> None:
    path = write_gguf(base, tmp_path / "tiny.gguf", types={"output": "Q8_0"})
    content = path.read_bytes()
    for number, label in ((9, "Q8_1"), (999, "999")):
        at = content.index(b"output.weight") + len("output.weight") + 4 + 2 * 8
        path.write_bytes(content[:at] + number.to_bytes(4, "little") + content[at + 4 :])
        with pytest.raises(BadInput, match=rf"quantisation {label} \(output.weight\)"):
            gguf_check.check(path, "bfloat16", tmp_path)


def test_a_file_cut_anywhere_is_refused_before_it_is_read(base: Path, tmp_path: Path) -> None:
    path = write_gguf(base, tmp_path / "tiny.gguf")
    content = path.read_bytes()
    for size in (len(content) - 1, len(content) // 2, 5_000, 700, 100, 23, 4):
        path.write_bytes(content[:size])
        with pytest.raises(BadInput, match=r"is cut short.*Download it again"):
            gguf_check.check(path, "bfloat16", tmp_path)
    for other in (b"", b"PK\3\4 a zip"):
        path.write_bytes(other)
        with pytest.raises(BadInput, match="is not a GGUF file"):
            gguf_check.check(path, "bfloat16", tmp_path)


def test_a_missing_package_is_named_with_its_extra(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(base, tmp_path / "tiny.gguf")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gguf" else find(name))
    with pytest.raises(BadInput, match=r"needs gguf, not installed here: pip install 'permix\[gguf\]'"):
        gguf_check.check(path, "bfloat16", tmp_path)


def test_weights_that_the_file_lacks_are_never_random(base: Path, tmp_path: Path) -> None:
    path = write_gguf(base, tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes().replace(b"blk.1.ffn_up", b"blk.9.ffn_up"))
    with pytest.raises(BadInput, match=r"1 weights of the model are not in the file, model\.layers\.1\.mlp\.up_proj"):
        convert(path, tmp_path / "work")


def test_too_little_memory_or_disk_is_said_first(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(base, tmp_path / "tiny.gguf")
    monkeypatch.setattr(gguf_check.shutil, "disk_usage", lambda _: os.statvfs_result)
    monkeypatch.setattr(os.statvfs_result, "free", 100, raising=False)
    with pytest.raises(BadInput, match=r"GB on the disk of .*, and 0\.0 GB are free: make room"):
        gguf_check.check(path, "bfloat16", tmp_path)
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(BadInput, match=r"GB of memory in bfloat16, and 0\.0 GB are free"):
        gguf_check.check(path, "bfloat16", tmp_path)
    with pytest.raises(BadInput, match="dtype is 'int8'"):
        gguf_check.check(path, "int8", tmp_path)


def test_the_command_makes_one_commit(base: Path, home: Path, tmp_path: Path) -> None:
    path = write_gguf(base, tmp_path / "tiny.gguf", types=Q8)
    refused = permix_hub(home, "import", str(path), "datasets/lab/tiny")
    assert refused.returncode == 2
    assert "is a file, and datasets/lab/tiny a dataset" in refused.stderr
    refused = permix_hub(home, "import", str(tmp_path), "lab/tiny", "--dtype", "float32")
    assert "--dtype converts the weights of a GGUF file" in refused.stderr
    done = permix_hub(home, "import", str(path), "lab/tiny")
    assert done.returncode == 0, done.stderr
    assert "tensors" in done.stderr
    files = {"config.json", "model.safetensors", "chat_template.jinja", "generation_config.json", "README.md"}
    hub = hub_of(home)
    assert files <= set(hub.api.list_repo_files("lab/tiny"))
    assert hub.api.list_repo_commits("lab/tiny")[0].title == "Import tiny.gguf"
    assert not list((home / "hub" / "import").iterdir())


def test_a_killed_import_leaves_nothing(base: Path, home: Path, tmp_path: Path) -> None:
    path = write_gguf(base, tmp_path / "tiny.gguf")
    environment = os.environ | {"PERMIX_HOME": str(home), "PYTHONPATH": str(PIPELINES)}
    work = home / "hub" / "import"
    with subprocess.Popen([*PERMIX_HUB, "import", str(path), "lab/killed"], env=environment) as child:
        while not list(work.glob("*/source")):
            assert child.poll() is None
            time.sleep(0.01)
        child.kill()
    assert hub_of(home).state("lab/killed") is None
    assert len(list(work.iterdir())) == 1
    with gguf_import._work_folder(work) as folder:
        assert list(work.iterdir()) == [folder]
        with gguf_import._work_folder(work) as second:
            assert set(work.iterdir()) == {folder, second}


def test_a_disk_that_fills_up_is_one_sentence(base: Path, tmp_path: Path) -> None:
    path = write_gguf(base, tmp_path / "tiny.gguf")
    header = gguf_header.read(path)
    (tmp_path / "work").mkdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(PermixError, match=r"was not imported, because the disk of .* is full: make room for"):
            gguf_import.convert(path, header, "lab/tiny", "float32", tmp_path / "work")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_hub_whose_disk_fills_up_is_one_sentence(base: Path, home: Path, tmp_path: Path) -> None:
    path = write_gguf(base, tmp_path / "tiny.gguf")
    permix_hub(home, "token")
    hub_of(home)
    server = json.loads((home / "hub" / "server.json").read_text())["pid"]
    limits = resource.prlimit(server, resource.RLIMIT_FSIZE)
    resource.prlimit(server, resource.RLIMIT_FSIZE, (80_000, limits[1]))
    done = permix_hub(home, "import", str(path), "lab/full")
    resource.prlimit(server, resource.RLIMIT_FSIZE, limits)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"permix: {path} was not imported as lab/full: " in done.stderr
    assert not list((home / "hub" / "import").iterdir())
