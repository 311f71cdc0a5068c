"""The endpoint back end against a real `transformers serve`: the same model gives the same text as in this process."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from permix.errors import BadInput
from permix.sampling.engines import open_engine
from permix.sampling.sampler import Endpoint, Engine, Request, Sampling
from tests.support.real import need

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def url(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    need("fastapi", "pip install 'transformers[serving]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("serve")
    (folder / "hf" / "hub").mkdir(parents=True)
    program = str(Path(sys.executable).with_name("transformers"))
    command = [program, "serve", str(base), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server,
    ):
        try:
            while not answers(f"http://127.0.0.1:{port}/health"):
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.kill()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url):
            return True
    except OSError:
        return False


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
