"""The endpoint back end against a real `transformers serve`: the same model gives the same text as in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from permix.errors import BadInput
from permix.sampling.engines import open_engine
from permix.sampling.sampler import Endpoint, Engine, Request, Sampling
from tests.support.transformers_serve import transformers_serve

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def url(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with transformers_serve(base, tmp_path_factory.mktemp("serve")) as url:
        yield url


def test_it_gives_the_completions_of_the_transformers_back_end(base: Path, url: str) -> None:
    sampling = Sampling(temperature=0.0, max_tokens=24)
    batch = [Request(f"r{i}", [{"role": "user", "content": f"What is {i} and 4?"}], sampling, i) for i in range(8)]
    local, remote = open_engine(Engine(base)), open_engine(Endpoint(str(base), url, concurrency=2))
    expected, got = ({c.id: c for c in engine.sample(batch)} for engine in (local, remote))
    counts = {i: (c.text, c.tokens_in, c.tokens_out) for i, c in got.items()}
    assert counts == {i: (c.text, c.tokens_in, c.tokens_out) for i, c in expected.items()}
    assert got["r0"].engine.startswith(f"endpoint {base}")
    streamed = "".join(remote.stream(batch[0]))
    assert letters(streamed) == letters(expected["r0"].text)
    remote.close()


def letters(text: str) -> str:
    """Without the marks of broken characters, of which this untrained model makes many: a stream splits them."""
    return text.replace("\ufffd", "")


def test_another_model_is_one_sentence(url: str) -> None:
    sampler = open_engine(Endpoint("no/such", url))
    with pytest.raises(BadInput, match="does not serve 'no/such'"):
        list(sampler.sample([Request("r", [{"role": "user", "content": "Hi"}], Sampling(), 0)]))
    sampler.close()
