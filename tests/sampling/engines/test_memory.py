"""A base that is larger than the free memory is refused before it is loaded."""

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from permix.errors import BadInput
from permix.sampling.engines import memory, open_engine
from permix.sampling.sampler import Engine
from permix.training import model
from tests.support.models import make_tiny_model
from tests.support.trainings import config_of


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    make_tiny_model(folder)
    return folder


def test_the_bytes_of_a_model_are_its_weights_times_the_precision(base: Path) -> None:
    weights = sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(base).parameters())
    assert memory.weights_bytes(base, "float32") == 4 * weights
    assert memory.weights_bytes(base, "bfloat16") == 2 * weights
    assert weights < memory.weights_bytes(base, "nf4") < 2 * weights  # embedding and head stay in 16 bits
    assert memory.weights_bytes(base / "none", "float32") == 0


@pytest.mark.parametrize(
    ("room", "dtype", "sentence"),
    [
        (0.9, "float32", r"in float32, .* of memory are free: use dtype bfloat16 \(0\.0 GB\), dtype nf4 "),
        (0.4, "float32", r"are free: use dtype nf4 \(0\.0 GB\), a smaller base or an endpoint"),
        (0.1, "bfloat16", r"in bfloat16, .* are free: use a smaller base or an endpoint"),
    ],
)
def test_an_engine_refuses_a_base_that_is_too_large(
    base: Path, monkeypatch: pytest.MonkeyPatch, room: float, dtype: str, sentence: str
) -> None:
    needed = memory.weights_bytes(base, "float32")
    monkeypatch.setattr(memory, "available", lambda: int(room * needed))
    with pytest.raises(BadInput, match=sentence):
        open_engine(Engine(base, dtype=dtype))


def test_a_training_refuses_a_base_that_is_too_large(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: int(0.6 * memory.weights_bytes(base, "float32")))
    with pytest.raises(BadInput, match=r"org/tiny needs .* in float32, .* use bf16 = true .*, load_in_4bit = true "):
        model.load_base(config_of("sft"), base)
    assert model.load_base(config_of("sft", bf16=True), base).num_parameters() > 0


def test_the_free_memory_is_that_of_the_machine_or_of_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0 < memory.available() < 1 << 50
    for name, content in (("max", "3000"), ("current", "1000"), ("stat", "anon 5\ninactive_file 200\n")):
        (tmp_path / f"memory.{name}").write_text(content)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    assert memory.available() == 3000 - 1000 + 200
    (tmp_path / "memory.max").write_text("max")
    assert memory.available() > 3000
