"""The sampler's types, the digest of a request set, and the journal."""

import subprocess
import sys
from pathlib import Path

import pytest

from permix.errors import BadInput
from permix.sampling.engines import open_engine
from permix.sampling.journal import Journal
from permix.sampling.sampler import Adapter, Completion, Engine, Request, Sampling, digest, packages_of
from tests.support.cases import cases


def request(name: str, *, seed: int = 0, adapter: Adapter | None = None, stop: tuple[str, ...] = ()) -> Request:
    return Request(name, [{"role": "user", "content": name}], Sampling(stop=stop), seed, adapter)


def completion(name: str) -> Completion:
    return Completion(name, f"té\nxt of {name}", 3, 4, "stop", "engine", "")


@pytest.mark.parametrize(("settings", "word"), cases(__file__)["impossible settings"])
def test_sampling_refuses_impossible_settings(settings: dict, word: str) -> None:
    with pytest.raises(BadInput, match=word):
        Sampling(**settings)


def test_digest_is_of_the_set_not_of_the_order() -> None:
    a, b = request("a"), request("b")
    assert digest([a, b]) == digest([b, a])


@pytest.mark.parametrize(
    "other",
    [request("a", seed=1), request("a", stop=("x",)), request("a", adapter=Adapter(Path("x"), "d")), request("other")],
)
def test_digest_changes_with_every_part_of_a_request(other: Request) -> None:
    assert digest([request("a")]) != digest([other])


def test_digest_ignores_where_an_adapter_lies() -> None:
    first, second = (request("a", adapter=Adapter(Path(p), "d")) for p in ("first", "second"))
    assert digest([first]) == digest([second])


def test_a_repeated_request_id_is_named() -> None:
    with pytest.raises(BadInput, match="Two requests have the id 'b'"):
        digest([request("a"), request("b"), request("b", seed=1)])


def test_a_journal_returns_the_appended_batches(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "journal.jsonl"
    with Journal(path, {"requests": "x"}) as journal:
        assert journal.done == []
        journal.append([completion("a"), completion("b")])
        journal.append([completion("c")])
    with Journal(path, {"requests": "x"}) as journal:
        assert (journal.done, journal.note) == ([completion("a"), completion("b"), completion("c")], "")


@pytest.mark.parametrize("lost", [1, 2, 30])
def test_a_torn_last_line_is_dropped_and_written_over(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "journal"
    with Journal(path, {"requests": "x"}) as journal:
        journal.append([completion("a")])
        journal.append([completion("b")])
    path.write_bytes(path.read_bytes()[:-lost])
    with Journal(path, {"requests": "x"}) as journal:
        assert journal.done == [completion("a")]
        journal.append([completion("c")])
    with Journal(path, {"requests": "x"}) as journal:
        assert journal.done == [completion("a"), completion("c")]


def test_a_torn_header_is_an_empty_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b'{"journal": 1, "requ')
    with Journal(path, {"requests": "x"}) as journal:
        journal.append([completion("a")])
    with Journal(path, {"requests": "x"}) as journal:
        assert journal.done == [completion("a")]


def test_a_journal_of_other_requests_is_moved_aside_and_the_note_says_why(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, {"requests": "x", "batch_size": 4}) as journal:
        journal.append([completion("a")])
    before = path.read_bytes()
    with Journal(path, {"requests": "x", "batch_size": 8}) as journal:
        assert journal.done == []
        assert journal.note == "started anew: the journal was of other batch_size, it is now journal.old"
    assert (tmp_path / "journal.old").read_bytes() == before


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no config\.json"):
        open_engine(Engine(tmp_path))


def test_importing_the_sampler_imports_nothing_heavy() -> None:
    code = "import sys, permix.sampling.sampler; print({'torch', 'transformers', 'peft', 'numpy'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_a_back_end_names_its_packages() -> None:
    assert "vllm" in packages_of("vllm")
    assert "vllm" not in packages_of("transformers")
