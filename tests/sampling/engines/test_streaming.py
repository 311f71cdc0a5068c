"""Streams: pieces of a growing text, and of what the transformers back end samples."""

from collections.abc import Generator, Iterator

import pytest

from permix.errors import BadInput
from permix.sampling.engines.streaming import pieces
from permix.sampling.sampler import Request, Sampler, Sampling
from tests.support.cases import cases


def growing(text: str) -> Iterator[tuple[str, str]]:
    return ((text[: i + 1], "" if i + 1 < len(text) else "length") for i in range(len(text)))


def read(stream: Generator[str, None, str]) -> tuple[list[str], str]:
    """Return the pieces of a stream and what it returns: the finish."""
    texts = []
    while True:
        try:
            texts.append(next(stream))
        except StopIteration as end:
            return texts, end.value


@pytest.mark.parametrize(("text", "stop", "expected"), cases(__file__)["pieces"])
def test_a_piece_comes_when_it_is_sure(text: str, stop: list[str], expected: list[str]) -> None:
    texts, finish = read(pieces(growing(text), tuple(stop)))
    assert texts == expected
    assert finish == ("length" if "".join(texts) == text != "" else "stop")


def test_half_a_character_is_held_back() -> None:
    texts = ["a", "a\ufffd", "aé", "aé\ufffd"]
    assert list(pieces([(text, "") for text in texts], ())) == ["a", "é", "\ufffd"]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_tokens=40),
        Sampling(temperature=0.0, max_tokens=40),
        Sampling(temperature=1.5, top_p=0.8, max_tokens=40),
        Sampling(max_tokens=40, stop=("e", "Zq")),
        Sampling(max_tokens=1),
    ],
)
def test_a_stream_gives_the_text_of_sample(engine: Sampler, sampling: Sampling) -> None:
    for seed in range(8):
        request = Request("r", [{"role": "user", "content": f"What is {seed} and 4?"}], sampling, seed)
        [whole] = engine.sample([request])
        texts, finish = read(engine.stream(request))
        assert ("".join(texts), finish) == (whole.text, whole.finish)
        assert len(texts) <= whole.tokens_out
        assert "" not in texts


def test_a_stream_that_is_not_read_to_its_end_does_no_harm(engine: Sampler) -> None:
    request = Request("r", [{"role": "user", "content": "Go on."}], Sampling(max_tokens=40), 3)
    next(engine.stream(request))
    assert "".join(engine.stream(request)) == next(engine.sample([request])).text


def test_a_prompt_that_does_not_fit_is_refused_here_too(engine: Sampler) -> None:
    with pytest.raises(BadInput, match="has 2048 positions"):
        next(engine.stream(Request("r", [{"role": "user", "content": "x"}], Sampling(max_tokens=2048), 0)))
    with pytest.raises(BadInput, match="cannot follow a JSON schema"):
        next(engine.stream(Request("r", [{"role": "user", "content": "x"}], Sampling(json_schema="{}"), 0)))
