"""Digests change when results can change, and only then."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from permix import run_record
from permix.stage import StageConfig, later, unhashed


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    rate: float = 0.1
    batch: int = unhashed(8)


def test_the_digest_follows_config_version_and_inputs_but_not_names_and_batch_sizes() -> None:
    config = Config()
    first = run_record.digest("grpo", 1, config, {"base": "aa"})
    assert first == run_record.digest("grpo", 1, replace(config, org="other", tag="t", batch=9), {"base": "aa"})
    others = [
        run_record.digest("sft", 1, config, {"base": "aa"}),
        run_record.digest("grpo", 2, config, {"base": "aa"}),
        run_record.digest("grpo", 1, replace(config, rate=0.2), {"base": "aa"}),
        run_record.digest("grpo", 1, replace(config, seed=1), {"base": "aa"}),
        run_record.digest("grpo", 1, config, {"base": "bb"}),
    ]
    assert len({first, *others}) == 6


@dataclass(frozen=True)
class Source:
    name: str = "gsm8k"


@dataclass(frozen=True)
class LaterSource(Source):
    shuffle: bool = later(False)


@dataclass(frozen=True, kw_only=True)
class Nesting(StageConfig):
    source: Source = Source()
    sources: tuple[Source, ...] = (Source(),)


@dataclass(frozen=True, kw_only=True)
class LaterConfig(Config):
    warmup: float = later(0.0)


def test_a_field_added_later_changes_the_digest_only_when_it_differs_from_its_default() -> None:
    before = run_record.digest("grpo", 1, Config(), {})
    assert run_record.digest("grpo", 1, LaterConfig(), {}) == before
    assert run_record.digest("grpo", 1, LaterConfig(warmup=0.1), {}) != before


def test_a_field_added_later_to_a_nested_dataclass_does_so_too() -> None:
    before = run_record.digest("sweep", 1, Nesting(), {})
    assert run_record.digest("sweep", 1, Nesting(source=LaterSource(), sources=(LaterSource(),)), {}) == before
    assert run_record.digest("sweep", 1, Nesting(source=LaterSource(shuffle=True)), {}) != before
    assert run_record.digest("sweep", 1, Nesting(sources=(LaterSource(shuffle=True),)), {}) != before


def test_a_run_record_has_a_later_field_of_its_config_with_its_default_too() -> None:
    assert run_record.canonical(LaterConfig())["warmup"] == 0.0


def test_the_content_digest_ignores_card_record_and_evaluation_results(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_text("1")
    before = run_record.content_digest(tmp_path)
    for name in ("README.md", "run.json", ".gitattributes", ".eval_results/x.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("new")
    assert run_record.content_digest(tmp_path) == before
    (tmp_path / "data" / "a").write_text("2")
    assert run_record.content_digest(tmp_path) != before


def test_the_content_digest_of_an_adapter_ignores_the_bases_commit_only(tmp_path: Path) -> None:
    def digest(**config: object) -> str:
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
        return run_record.content_digest(tmp_path)

    assert digest(r=8, revision="a" * 40) == digest(r=8, revision="b" * 40)
    assert digest(r=8, revision="a" * 40) != digest(r=16, revision="a" * 40)


def test_files_are_described_by_the_ids_that_git_and_lfs_use(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"hello\n")
    entry = run_record.describe_files(tmp_path)["a.txt"]
    assert entry["sha1"] == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
    assert (entry["sha256"], entry["size"]) == ("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03", 6)
