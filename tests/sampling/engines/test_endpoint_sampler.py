"""The endpoint back end against a scripted server over real HTTP: faults, limits, money, resuming, secrets."""

import asyncio
import json
import logging
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from permix.errors import BadInput, PermixError
from permix.sampling.engines import open_engine
from permix.sampling.engines.endpoint import client, pace
from permix.sampling.engines.endpoint.dialect import Dialect
from permix.sampling.engines.endpoint.spending import most
from permix.sampling.engines.endpoint_sampler import EndpointSampler
from permix.sampling.sampler import Adapter, Completion, Endpoint, Request
from tests.support.cases import cases
from tests.support.faulty_server import Answer, Asked, FaultyServer, Script, completion, error, fine
from tests.support.sampling import by_id, kill_while_sampling, numbered

KEY = "sk-secret-0123456789"


def ask(
    server: FaultyServer, batch: list[Request], journal: Path | None = None, **settings: Any
) -> dict[str, Completion]:
    with closing(EndpointSampler(Endpoint("good-model", server.url, **settings))) as sampler:
        return by_id(sampler.sample(batch, journal))


@contextmanager
def opened(
    script: Script = fine, *, model: str = "good-model", **settings: Any
) -> Iterator[tuple[FaultyServer, EndpointSampler]]:
    with FaultyServer(script) as server, closing(EndpointSampler(Endpoint(model, server.url, **settings))) as sampler:
        yield server, sampler


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pace, "BACKOFF", 0.001)
    monkeypatch.setenv("PERMIX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("THE_KEY", KEY)


def first(fault: Answer, times: int = 1) -> Script:
    """`fault` for the first `times` of every question, then a completion."""
    return lambda received: fault if received.times < times else fine(received)


def test_completions_carry_text_counts_finish_and_the_providers_model() -> None:
    def script(received: Asked) -> Answer:
        return completion("cut off", "length") if received.question == "question 1" else fine(received)

    with FaultyServer(script) as server:
        got = ask(server, numbered(2))
    assert got["r00000"] == Completion("r00000", "question 0 seed 1000", 10, 4, "stop", "endpoint good-model-0301", "")
    assert (got["r00001"].text, got["r00001"].finish) == ("cut off", "length")


def test_everything_that_decides_a_completion_is_sent() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    batch = numbered(1, temperature=0.0, top_p=0.9, stop=("\n",), json_schema=json.dumps(schema))
    with FaultyServer() as server:
        ask(server, batch, key="THE_KEY")
    [seen] = server.asked
    assert (seen.path, seen.headers["authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert seen.body == {
        "model": "good-model",
        "messages": batch[0].messages,
        "temperature": 0.0,
        "top_p": 0.9,
        "max_tokens": 50,
        "seed": 1000,
        "stop": ["\n"],
        "chat_template_kwargs": seen.body["chat_template_kwargs"],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}},
    }
    assert seen.body["chat_template_kwargs"]["date_string"] == "26 Jul 2024"


FAULTS = {
    "too many": error(429, "Rate limit reached", code="rate_limit_exceeded"),
    "server error": error(500, "oops"),
    "overloaded": error(529, "overloaded"),
    "gateway": Answer(502, "<html>Bad Gateway</html>", {"content-type": "text/html"}),
    "reset": Answer(cut="reset"),
    "half a reply": replace(completion("half of this"), cut="half"),
    "no json": Answer(body="I am a teapot"),
    "cut json": Answer(body='{"choices": [{"mess'),
    "no choices": Answer(body={"id": "x", "choices": []}),
    "an error with status 200": Answer(body={"error": {"message": "upstream", "code": 502}}),
    "no message": Answer(body={"choices": [{"finish_reason": "stop"}]}),
    "a number for text": completion(None, content=5),
    "finish error": completion("half of", "error"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_tried_again(name: str) -> None:
    with FaultyServer(first(FAULTS[name], 2)) as server:
        got = ask(server, numbered(6))
    assert [c.text for _, c in sorted(got.items())] == [f"question {i} seed {1000 + i}" for i in range(6)]
    assert len(server.asked) == 18


def test_a_request_to_a_hanging_server_is_retried() -> None:
    with FaultyServer(first(Answer(cut="hang"))) as server:
        got = ask(server, numbered(3), timeout=1.0)
    assert {c.finish for c in got.values()} == {"stop"}
    assert min(Counter(received.question for received in server.asked).values()) >= 2


def test_slow_answers_arrive() -> None:
    with FaultyServer(lambda received: replace(fine(received), slow=0.2)) as server:
        assert len(ask(server, numbered(20), concurrency=10)) == 20
    assert 1 < server.most_at_once <= 10


def test_a_request_that_always_fails_is_an_error_and_the_others_continue() -> None:
    def script(received: Asked) -> Answer:
        return error(500, "oops") if received.question in ("question 3", "question 7") else fine(received)

    notes: list[str] = []
    with opened(script) as (server, sampler):
        got = by_id(sampler.sample(numbered(), progress=lambda done, total, unit, note="": notes.append(note)))
    assert {n for n, c in got.items() if c.finish == "error"} == {"r00003", "r00007"}
    assert len(got) == 20
    assert sum(a.question == "question 3" for a in server.asked) == pace.TRIES
    assert "2 failed, the last with status 500: oops" in notes[-1]


@pytest.mark.parametrize(("count", "failed"), [(200, 20), (3, 3)])
def test_a_server_that_fails_always_ends_the_run(count: int, failed: int) -> None:
    sentence = rf"{failed} requests in a row failed at .* the last with status 500: oops.*run again"
    with FaultyServer(lambda received: error(500, "oops")) as server, pytest.raises(PermixError, match=sentence):
        ask(server, numbered(count), concurrency=4)
    assert len(server.asked) < 30 * pace.TRIES


def test_retry_after_is_respected() -> None:
    import time

    came: list[float] = []

    def script(received: Asked) -> Answer:
        came.append(time.monotonic())
        return fine(received) if received.times else Answer(429, {}, {"retry-after": "0.3"})

    with FaultyServer(script) as server:
        ask(server, numbered(1))
    assert came[1] - came[0] >= 0.3


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after-ms": "150", "retry-after": "2"}, 0.15),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, 0.0),
        ({"retry-after": "inf"}, 0.0),
        ({"retry-after": "nan"}, 0.0),
        ({"retry-after-ms": "inf", "retry-after": "3"}, 3.0),
        ({"retry-after": "86400"}, 86400.0),
        ({}, 0.0),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float) -> None:
    import httpx2

    assert client._retry_after(httpx2.Headers(headers)) == seconds


@pytest.mark.parametrize("unit", [1, 1000])
def test_retry_after_may_be_a_unix_time(unit: int) -> None:
    import time

    import httpx2

    headers = httpx2.Headers({"retry-after": str(round((time.time() + 30) * unit))})
    assert 25 < client._retry_after(headers) < 31


def test_a_wait_of_hours_ends_the_run() -> None:
    with (
        FaultyServer(lambda received: Answer(429, {}, {"retry-after": "86400"})) as server,
        pytest.raises(PermixError, match="asks to wait 86400 s"),
    ):
        ask(server, numbered(1))


def test_fewer_requests_go_out_at_once_after_too_many_requests() -> None:
    def script(received: Asked) -> Answer:
        return FAULTS["too many"] if len(server.asked) <= 16 else fine(received)

    with opened(script, concurrency=32) as (server, sampler):
        got = by_id(sampler.sample(numbered(60)))
        limit = sampler._pace.limit
    assert {c.finish for c in got.values()} == {"stop"}
    assert limit < 24


def test_the_number_at_once_settles_at_the_servers_limit() -> None:
    """Without a server: how long an answer takes there depends on the load of the machine."""
    active: list[int] = []
    refusals: list[bool] = []

    async def request(limiter: pace.Pace) -> None:
        answered = False
        while not answered:
            started = await limiter.start()
            active.append(1)
            refusals.append(len(active) > 4)
            await asyncio.sleep(0)
            active.pop()
            answered = not refusals[-1]
            if not answered:
                limiter.too_many(started, 0)
            await limiter.end(good=answered)

    async def requests() -> float:
        limiter = pace.Pace(32)
        await asyncio.gather(*(request(limiter) for _ in range(150)))
        return limiter.limit

    assert asyncio.run(requests()) < 12
    assert sum(refusals[len(refusals) // 2 :]) < len(refusals) // 4


ENDS = {
    "a wrong key": (error(401, f"Incorrect API key provided: {KEY}"), r"refuses the key in THE_KEY \(401: .*\[key\]\)"),
    "no permission": (error(403, "no access"), "refuses the key in THE_KEY"),
    "an unknown model": (error(404, "no"), r"does not serve 'good-model': did you mean 'good-model'\?|known: "),
    "a model that 400 does not know": (error(400, "Model Not Exist"), "does not serve 'good-model'"),
    "a long prompt": (
        error(400, "This model's maximum context length is 8 tokens", code="context_length_exceeded"),
        r"Request 'r0000\d' with max_tokens 50 does not fit the context",
    ),
    "a long prompt, says vLLM": (
        Answer(400, {"object": "error", "message": "The prompt is too long: 9 > max_model_len 8", "code": 400}),
        "does not fit the context",
    ),
    "a parameter out of range": (
        error(400, "max_tokens is too large", param="max_tokens"),
        r"refuses request 'r0.*too large",
    ),
    "no credit": (error(429, "You exceeded your current quota", code="insufficient_quota"), "no credit left"),
    "no balance": (error(402, "Insufficient Balance"), "no credit left"),
    "another address": (Answer(307, {}, {"location": "http://127.0.0.1:9/v1"}), "redirects to http://127.0.0.1:9/v1"),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_permanent_failure_ends_the_call_and_keeps_finished_completions(name: str, tmp_path: Path) -> None:
    answer, sentence = ENDS[name]
    with FaultyServer(lambda received: answer if received.question == "question 9" else fine(received)) as server:
        with pytest.raises(PermixError, match=sentence) as caught:
            ask(server, numbered(100), tmp_path / "journal", key="THE_KEY", concurrency=4)
        assert len(server.asked) < 50
        assert KEY not in str(caught.value)
    assert caught.value.exit_code == (1 if "credit" in sentence else 2)
    with FaultyServer() as mended:
        got = ask(mended, numbered(100), tmp_path / "journal", key="THE_KEY")
    assert len(got) == 100
    assert {c.finish for c in got.values()} == {"stop"}
    finished = len(server.asked) - 1
    assert len(mended.asked) == 100 - finished


def test_an_unknown_model_names_the_nearest() -> None:
    with (
        opened(lambda received: error(404, "no such model"), model="god-model") as (_, sampler),
        pytest.raises(BadInput, match=r"does not serve 'god-model': did you mean 'good-model'\?"),
    ):
        list(sampler.sample(numbered(1)))


def test_a_filtered_prompt_is_a_refusal_and_a_filtered_or_refused_answer_is_an_answer() -> None:
    answers = {
        "question 0": error(400, "flagged", code="content_filter"),
        "question 1": completion("It begins", "content_filter"),
        "question 2": completion(None, refusal="I will not."),
        "question 3": completion(None),
    }
    with FaultyServer(lambda received: answers.get(received.question) or fine(received)) as server:
        got = ask(server, numbered(30))
    assert [(got[f"r{i:05}"].text, got[f"r{i:05}"].finish) for i in range(4)] == [
        ("", "refusal"),
        ("It begins", "stop"),
        ("I will not.", "stop"),
        ("", "stop"),
    ]
    assert len(server.asked) == 30


THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
REPLIES = {
    "parts": (
        completion("", content=[THINKING, {"type": "text", "text": "It is "}, {"type": "text", "text": "4"}]),
        "It is 4",
    ),
    "reasoning with a text": (completion("", content=[{"type": "reasoning", "text": "hm"}, "4"]), "4"),
    "one part": (completion("", content={"type": "text", "text": "4"}), "4"),
    "a refusal in a part": (completion("", content=[{"type": "refusal", "refusal": "No."}]), "No."),
    "half a character": (completion("ok \ud83d 4"), "ok \ufffd 4"),
    "two halves": (completion("\ud83d\ude00"), "\U0001f600"),
}


@pytest.mark.parametrize("name", REPLIES)
def test_every_form_of_a_text_is_read_at_once(name: str, tmp_path: Path) -> None:
    reply, text = REPLIES[name]
    with FaultyServer(lambda _: reply) as server:
        assert ask(server, numbered(1), tmp_path / "journal")["r00000"].text == text
        assert len(server.asked) == 1
        assert ask(server, numbered(1), tmp_path / "journal")["r00000"].text == text


def test_a_good_reply_beside_half_a_character_is_stored(tmp_path: Path) -> None:
    with FaultyServer(lambda r: completion("\ud83d") if r.question == "question 1" else fine(r)) as server:
        before = ask(server, numbered(5), tmp_path / "journal")
        assert ask(server, numbered(5), tmp_path / "journal") == before
        assert len(server.asked) == 5


@pytest.mark.parametrize(
    ("finish", "end"),
    [
        *(
            (word, "length")
            for word in ("length", "model_length", "MAX_TOKENS", "max_output_tokens", "FinishReason.LENGTH")
        ),
        *((word, "length") for word in ("token_limit", "model_context_window_exceeded", "ERROR_LIMIT")),
        *((word, "stop") for word in ("stop", "eos_token", "end_turn", "content_filter", "COMPLETE", None)),
    ],
)
def test_every_word_for_the_token_limit_is_length(finish: str | None, end: str) -> None:
    with FaultyServer(lambda _: completion("cut off he", finish)) as server:
        assert ask(server, numbered(1))["r00000"].finish == end


def test_a_missing_finish_reason_is_stop() -> None:
    reply = completion("four")
    del reply.body["choices"][0]["finish_reason"]
    with FaultyServer(lambda _: reply) as server:
        assert ask(server, numbered(1))["r00000"].finish == "stop"
        assert len(server.asked) == 1


FILTERS = {
    "Azure": error(400, "The response was filtered due to our content management policy", code="content_filter"),
    "OpenAI": error(400, "Invalid prompt: your prompt was flagged as potentially violating our usage policy."),
    "OpenRouter": error(403, "gpt requires moderation on OpenAI. Your input was flagged for violence."),
    "xAI": error(403, "Content violates usage guidelines. Team: t, API key ID: k, Failed check: SAFETY_CHECK"),
    "Alibaba": error(400, "Input data may contain inappropriate content.", code="data_inspection_failed"),
    "DeepSeek": error(400, "Content Exists Risk"),
    "Anthropic": error(400, "Output blocked by content filtering policy"),
    "Google": Answer(400, [{"error": {"code": 400, "message": "PROHIBITED_CONTENT", "status": "INVALID_ARGUMENT"}}]),
    "a body with status 200": Answer(body={"error": {"message": "flagged by moderation", "code": "content_filter"}}),
    "a code in the body": Answer(body={"error": {"message": "blocked by a guardrail", "code": 400}}),
    "a reply without text": completion(None, "SAFETY"),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_refused_prompt_is_a_refusal_at_once_with_the_servers_words(name: str, tmp_path: Path) -> None:
    with FaultyServer(lambda r: FILTERS[name] if r.question == "question 1" else fine(r)) as server:
        got = ask(server, numbered(3), tmp_path / "journal")
        assert (got["r00001"].finish, got["r00001"].text) == ("refusal", "")
        assert got["r00001"].reason
        assert len(server.asked) == 3
    with FaultyServer() as server:  # with another filter
        assert ask(server, numbered(3), tmp_path / "journal")["r00001"].finish == "stop"
        assert len(server.asked) == 1


@pytest.mark.parametrize("choices", [None, []])
def test_no_choices_at_every_try_are_a_refusal(choices: list[Any] | None) -> None:
    empty = Answer(body={"id": "x", "choices": choices})
    with FaultyServer(lambda r: empty if r.question == "question 1" else fine(r)) as server:
        got = ask(server, numbered(3))
    assert [got[f"r{i:05}"].finish for i in range(3)] == ["stop", "refusal", "stop"]
    assert sum(a.question == "question 1" for a in server.asked) == pace.TRIES


NOT_REFUSALS = [
    error(403, "Your account was suspended for violating our usage policy."),
    error(401, "flagged by moderation"),
]


@pytest.mark.parametrize("answer", NOT_REFUSALS)
def test_a_refused_account_ends_the_run(answer: Answer) -> None:
    with FaultyServer(lambda _: answer) as server, pytest.raises(BadInput, match="refuses requests without a key"):
        ask(server, numbered(3))


def test_a_busy_server_may_say_so_with_status_200() -> None:
    busy = Answer(body={"error": {"message": "slow down", "code": 429}})
    with FaultyServer(first(busy, pace.TRIES + 2)) as server:
        assert ask(server, numbered(1))["r00000"].finish == "stop"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "http://[::1]:9/v1"])
def test_an_unreachable_server_is_one_sentence(url: str) -> None:
    with pytest.raises(BadInput, match=re.escape(url) + " does not answer"):
        open_engine(Endpoint("m", url))


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "", "ftp://host/v1", f"https://me:{KEY}@host/v1"])
def test_a_malformed_address_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="should be like https://host/v1") as caught:
        open_engine(Endpoint("m", url))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("status", [404, 405, 500])
def test_a_server_without_a_list_of_models_is_used(status: int) -> None:
    with FaultyServer(models=Answer(status, {})) as server:
        assert len(ask(server, numbered(2))) == 2


def test_a_key_that_is_refused_or_not_set_is_found_when_the_endpoint_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyServer(models=error(401, "who are you")) as server:
        with pytest.raises(BadInput, match=r"refuses the key in THE_KEY \(401: who are you\)"):
            EndpointSampler(Endpoint("m", server.url, key="THE_KEY"))
        with pytest.raises(BadInput, match="refuses requests without a key"):
            EndpointSampler(Endpoint("m", server.url))
        monkeypatch.delenv("THE_KEY")
        with pytest.raises(BadInput, match="variable THE_KEY is not set"):
            EndpointSampler(Endpoint("m", server.url, key="THE_KEY"))
        monkeypatch.setenv("THE_KEY", "two words")
        with pytest.raises(BadInput, match="does not hold an API key"):
            EndpointSampler(Endpoint("m", server.url, key="THE_KEY"))


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    with (
        opened(model="m") as (_, sampler),
        pytest.raises(BadInput, match="give the adapter's served name as the model"),
    ):
        sampler.sample([replace(numbered(1)[0], adapter=Adapter(tmp_path, "d"))])


def test_the_key_goes_nowhere_but_into_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-another")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-other: yes")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    endpoint_name = {"key": "THE_KEY", "price_in": 1.0}
    with opened(first(FAULTS["server error"]), **endpoint_name) as (server, sampler):
        list(sampler.sample(numbered(3), tmp_path / "journal"))
        shown = repr(sampler) + repr(sampler.endpoint) + str(vars(sampler))
    assert all(a.headers["authorization"] == f"Bearer {KEY}" for a in server.asked)
    assert not {"openai-organization", "x-other"} & {name for a in server.asked for name in a.headers}
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY not in shown + caplog.text
    assert KEY.encode() not in written
    assert b"question 2" in written


def test_a_key_does_not_follow_a_redirect() -> None:
    with FaultyServer() as other, FaultyServer(models=Answer(302, {}, {"location": other.url + "/models"})) as server:
        with pytest.raises(BadInput, match="redirects to"):
            EndpointSampler(Endpoint("m", server.url, key="THE_KEY"))
        assert other.asked == []


def test_after_a_kill_no_row_is_lost_doubled_or_paid_twice(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    hang: Script = lambda received: Answer(cut="hang") if int(received.question.split()[1]) >= 12 else fine(received)  # noqa: E731
    with FaultyServer(hang) as server:
        endpoint = f'Endpoint("good-model", {server.url!r}, concurrency=4)'
        kill_while_sampling(endpoint, "numbered()", journal, last=11, until=lambda: server.wait_for(16))
    with FaultyServer() as other:  # at another url
        got = ask(other, numbered(), journal)
    assert len(other.asked) == 8
    assert len(got) == 20
    assert all(got[f"r{i:05}"].text == f"question {i} seed {1000 + i}" for i in range(20))
    with FaultyServer() as third:
        assert ask(third, numbered(), journal) == got
        assert third.asked == []


def test_only_failed_requests_are_sampled_again(tmp_path: Path) -> None:
    def script(received: Asked) -> Answer:
        return error(500, "oops") if received.question == "question 3" else fine(received)

    with FaultyServer(script) as server:
        assert ask(server, numbered(), tmp_path / "journal")["r00003"].finish == "error"
    assert "r00003" not in (tmp_path / "journal").read_text()
    with FaultyServer() as server:
        assert ask(server, numbered(), tmp_path / "journal")["r00003"].finish == "stop"
    assert [a.question for a in server.asked] == ["question 3"]


def test_a_journal_of_another_model_is_not_used(tmp_path: Path) -> None:
    with FaultyServer() as server:
        ask(server, numbered(3), tmp_path / "journal")
        other = EndpointSampler(Endpoint("other-model", server.url))
        assert len(list(other.sample(numbered(3), tmp_path / "journal"))) == 3
        other.close()
        assert len(server.asked) == 6


def test_paid_answers_are_cached_for_every_stage_and_free_ones_are_not(tmp_path: Path) -> None:
    def script(received: Asked) -> Answer:
        return error(500, "oops") if received.question == "question 3" else fine(received)

    with FaultyServer(script) as server:
        before = ask(server, numbered(6), tmp_path / "one", key="THE_KEY")
        tried = len(server.asked)
        again = ask(server, numbered(6), tmp_path / "two", key="THE_KEY", price_in=9.0, budget=0.01)
        new = {a.question for a in server.asked[tried:]}
        assert again == before, "an error is never cached"
        assert new == {"question 3"}, "an error is never cached"
        tried = len(server.asked)
        ask(server, numbered(6, temperature=0.5), key="THE_KEY")
        ask(server, [replace(r, seed=5) for r in numbered(2)], key="THE_KEY")
        assert len(server.asked) - tried == 2 + 5 + pace.TRIES
        ask(server, numbered(2))
        ask(server, numbered(2))
        assert len(server.asked) - tried == 2 + 5 + pace.TRIES + 4


def test_a_broken_cache_costs_money_but_not_the_run(tmp_path: Path) -> None:
    path = tmp_path / "home" / "cache" / "endpoint.sqlite"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is no database" * 100)
    with FaultyServer() as server:
        assert len(ask(server, numbered(4), key="THE_KEY")) == 4


PRICES: dict[str, Any] = {"price_in": 1000.0, "price_out": 10000.0}  # 0.01 + n words * 0.01 USD a request


def test_the_budget_is_never_exceeded_and_finished_completions_are_kept(tmp_path: Path) -> None:
    endpoint = Endpoint("m", "http://x", **PRICES)
    budget = 3 * most(endpoint, numbered(1)[0])
    with FaultyServer() as server:
        sentence = r"budget of .* USD is reached: .* USD are spent .* raise the budget and run again"
        with pytest.raises(PermixError, match=sentence):
            ask(server, numbered(100), tmp_path / "journal", **PRICES, budget=budget)
        paid = len(server.asked)
        assert budget - most(endpoint, numbered(1)[0]) < paid * 0.05 <= budget, "10 tokens in, 4 out"
        assert server.most_at_once <= 3
        with pytest.raises(PermixError, match="is reached"):  # a new call begins with what the journal has cost
            ask(server, numbered(100), tmp_path / "journal", **PRICES, budget=budget)
        assert len(server.asked) == paid
        got = ask(server, numbered(100), tmp_path / "journal", **PRICES, budget=100.0)
        assert len(got) == 100
        assert len(server.asked) == 100


@pytest.mark.parametrize("fault", ["half a reply", "no json", "reset"])
def test_a_reply_that_was_lost_counts_as_paid(fault: str) -> None:
    endpoint = Endpoint("m", "http://x", **PRICES)
    with FaultyServer(lambda received: FAULTS[fault]) as server, pytest.raises(PermixError, match="is reached"):
        ask(server, numbered(4), **PRICES, budget=3.5 * most(endpoint, numbered(1)[0]))
    assert len(server.asked) == 3


def test_a_budget_without_prices_is_refused() -> None:
    with pytest.raises(BadInput, match="needs its prices"):
        EndpointSampler(Endpoint("m", "http://127.0.0.1:9", budget=1.0))


def test_progress_tells_completions_and_money() -> None:
    reports: list[tuple[float, float, str, str]] = []
    with opened(**PRICES) as (_, sampler):
        list(sampler.sample(numbered(20), progress=lambda *a: reports.append(a)))  # type: ignore[arg-type]
    assert (reports[0], reports[-1]) == ((0, 20, "completions", ""), (20, 20, "completions", "1.0000 USD"))


@pytest.mark.parametrize(("model", "sent", "missing"), cases(__file__)["parameters of models"])
def test_the_table_knows_the_providers(model: str, sent: list[str], missing: list[str]) -> None:
    body = Dialect(model).body(numbered(1, stop=("x",))[0])
    assert set(sent) <= body.keys()
    assert not set(missing) & body.keys()


REFUSALS = {
    "temperature": error(
        400,
        "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) is.",
        param="temperature",
        code="unsupported_value",
    ),
    "max_tokens": error(
        400,
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        param="max_tokens",
        code="unsupported_parameter",
    ),
    "chat_template_kwargs": error(400, "Unrecognized request argument supplied: chat_template_kwargs"),
    "seed": Answer(
        422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}
    ),
    "response_format": error(400, "response_format json_schema is not supported", param="response_format.type"),
}


TOGETHER = [
    "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
    "temperature and topP cannot be used together",
    "Unsupported: set either temperature or top-p, not both",
]


@pytest.mark.parametrize("message", TOGETHER)
def test_of_temperature_and_top_p_refused_together_temperature_stays(message: str) -> None:
    def script(received: Asked) -> Answer:
        return error(400, message) if {"temperature", "top_p"} <= received.body.keys() else fine(received)

    with opened(script, concurrency=8) as (server, sampler):
        got = list(sampler.sample(numbered(20, temperature=0.6, top_p=0.9)))
    assert {c.finish for c in got} == {"stop"}
    assert sampler.notes == ["good-model takes no top_p beside temperature: sent without"]
    assert server.asked[-1].body["temperature"] == 0.6


def test_top_p_1_is_not_sent_to_hosted_models() -> None:
    [request] = numbered(1)
    assert "top_p" not in Dialect("claude-sonnet-4-5").body(request)
    assert Dialect("Qwen/Qwen3-32B").body(request)["top_p"] == 1, "vLLM takes the model's own top_p instead"


SEEDS = {
    "OpenAI": error(400, "Invalid value for seed: must be less than or equal to 2147483647", param="seed"),
    "Google": Answer(
        400, [{"error": {"code": 400, "message": "Invalid value at 'generation_config.seed' (TYPE_INT32)"}}]
    ),
    "FastAPI": Answer(422, {"detail": [{"loc": ["body", "seed"], "msg": "Input should be less than 2147483648"}]}),
}


@pytest.mark.parametrize("name", SEEDS)
@pytest.mark.parametrize("takes_small", [True, False])
def test_a_large_seed_is_sent_smaller_or_not_at_all(name: str, takes_small: bool) -> None:
    def script(received: Asked) -> Answer:
        fits = "seed" not in received.body or (takes_small and received.body["seed"] < 2**31)
        return fine(received) if fits else SEEDS[name]

    batch = [replace(request, seed=2**55 + request.seed) for request in numbered(20)]
    with opened(script, concurrency=8) as (server, sampler):
        got = list(sampler.sample(batch))
    assert {c.finish for c in got} == {"stop"}
    assert len(sampler.notes) == 2 - takes_small
    assert (server.asked[-1].body.get("seed") is None) != takes_small


@pytest.mark.parametrize("parameter", REFUSALS)
def test_a_refused_parameter_is_left_out_from_then_on_and_told(parameter: str) -> None:
    def script(received: Asked) -> Answer:
        value = received.body.get(parameter)
        return fine(received) if value is None or value == {"type": "json_object"} else REFUSALS[parameter]

    notes: list[str] = []
    with opened(script, concurrency=8) as (server, sampler):
        batch = numbered(40, temperature=0.7, json_schema='{"type": "object"}')
        got = by_id(sampler.sample(batch, progress=lambda done, total, unit, note="": notes.append(note)))
    assert {c.finish for c in got.values()} == {"stop"}
    assert len(server.asked) <= 40 + 8
    assert parameter in notes[-1] or "json_schema" in notes[-1]
    assert parameter != "max_tokens" or server.asked[-1].body["max_completion_tokens"] == 50


def test_a_stop_string_that_is_not_sent_still_ends_a_completion() -> None:
    with opened(lambda received: completion("one END two"), model="o3") as (server, sampler):
        [got] = sampler.sample(numbered(1, stop=("END",)))
        assert (got.text, got.finish) == ("one ", "stop")
        assert "stop" not in server.asked[0].body
        assert "".join(sampler.stream(numbered(1, stop=("END",))[0])) == "one "


def test_a_stream_gives_the_same_text_in_pieces() -> None:
    with opened() as (server, sampler):
        [whole], pieces = sampler.sample(numbered(1)), list(sampler.stream(numbered(1)[0]))
    assert "".join(pieces) == whole.text
    assert len(pieces) > 10
    assert server.asked[1].body == {k: v for k, v in server.asked[0].body.items() if k != "stream"}


@pytest.mark.parametrize("name", ["too many", "reset", "no json"])
def test_a_stream_is_begun_again_after_a_fault(name: str) -> None:
    with opened(first(FAULTS[name])) as (_, sampler):
        assert "".join(sampler.stream(numbered(1)[0])) == "question 0 seed 1000"


def test_half_a_stream_is_one_sentence_after_its_half() -> None:
    with opened(lambda received: replace(completion("0123456789"), cut="half")) as (server, sampler):
        pieces: list[str] = []
        with pytest.raises(PermixError, match="failed: a broken"):
            for piece in sampler.stream(numbered(1)[0]):
                pieces.append(piece)
    assert "".join(pieces) == "01234"
    assert len(server.asked) == 1


def test_a_reader_that_stops_ends_the_requests(tmp_path: Path) -> None:
    script: Script = lambda r: fine(r) if r.question == "question 0" else Answer(cut="hang")  # noqa: E731
    with opened(script, concurrency=4) as (server, sampler):
        reading = sampler.sample(numbered(50), tmp_path / "journal")
        assert next(reading).id == "r00000"
        reading.close()  # type: ignore[attr-defined]
        assert len(server.asked) <= 5
        assert next(sampler.stream(numbered(1)[0])) == "q"


def events(*chunks: Any, done: bool = True) -> Answer:
    lines = [chunk if isinstance(chunk, str) else f"data: {json.dumps(chunk)}" for chunk in chunks]
    body = "\n\n".join([*lines, *(["data: [DONE]"] if done else []), ""])
    return Answer(200, body, {"content-type": "text/event-stream"})


def delta(content: Any, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}]}


STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
STREAMS = {
    "offsets": [{"choices": []}, delta("four"), {"choices": [{"index": 0, "content_filter_offsets": {}}]}, STOP],
    "null choices": [delta("four"), STOP, {"choices": None, "usage": {}}],
    "null delta": [delta("four"), {"choices": [{"delta": None, "finish_reason": "stop"}]}],
    "parts": [delta([THINKING]), delta([{"type": "text", "text": "four"}]), STOP],
    "comments": [": PROCESSING", delta("four"), STOP],
    "no finish_reason": [delta("four")],
    "half a character in two chunks": [delta("fo\ud83d"), delta("\ude00ur"), STOP],
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", STREAMS)
def test_every_form_of_a_stream_is_read(name: str) -> None:
    with opened(lambda _: events(*STREAMS[name])) as (server, sampler):
        text = "".join(sampler.stream(numbered(1)[0]))
    assert text.replace("\U0001f600", "") == "four"
    assert len(server.asked) == 1


def test_a_stream_that_ends_without_done_and_reason_is_broken() -> None:
    with (
        opened(lambda _: events(delta("fo"), done=False)) as (_, sampler),
        pytest.raises(PermixError, match="a stream without an end"),
    ):
        list(sampler.stream(numbered(1)[0]))


def test_a_closed_engine_leaves_no_pending_task(caplog: pytest.LogCaptureFixture) -> None:
    import gc

    with FaultyServer(lambda _: events(delta("four"), STOP)) as server:
        for _ in range(5):
            sampler = EndpointSampler(Endpoint("good-model", server.url))
            list(sampler.stream(numbered(1)[0]))
            sampler.close()
    gc.collect()
    assert "pending" not in caplog.text


def test_no_requests_give_no_completions(tmp_path: Path) -> None:
    with FaultyServer() as server:
        assert ask(server, [], tmp_path / "journal") == {}


MANY = """
import resource, sys
sys.path[:0] = [{root!r}]
from permix.sampling.engines import open_engine
from permix.sampling.sampler import Endpoint
from tests.support.sampling import numbered
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
sampler, batch = open_engine(Endpoint("good-model", {url!r})), numbered({count})
before = peak()
print(sum(c.finish == "stop" for c in sampler.sample(batch)), peak() - before)
"""


def test_thousands_of_requests_stay_within_memory() -> None:
    answer: Callable[[Asked], Answer] = lambda received: completion("word " * 1000)  # noqa: E731
    with FaultyServer(answer, remember=False) as server:
        code = MANY.format(root=str(Path(__file__).parents[3]), url=server.url, count=5000)
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    finished, megabytes = ran.stdout.split()
    assert finished == "5000"
    assert float(megabytes) < 60
