"""`permix import` on logs as lm-eval 0.4.13, lighteval 0.13 and Inspect 0.3.285 write them."""

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
import yaml

from permix import foreign_logs
from permix.commands import import_logs, verify
from permix.errors import BadInput
from permix.foreign_logs import inspect_logs, lm_eval_samples
from permix.prompting import persona
from permix.publishing import hub as hubs
from permix.publishing.hub import Hub
from permix.stages.shared import sweep_rows
from tests.support.foreign_logs import DATE, Scores, lm_eval
from tests.support.hubs import embedded

CHEMIST, POET = persona.bundled("train")[0], "You are a poet."


def lighteval(folder: Path, system: str | None, scores: Scores) -> Path:
    """What `lighteval --save-details` writes."""
    rows = [
        {
            "doc": {"query": f"What is {n}+{n}?", "choices": [str(2 * n)], "gold_index": 0, "id": str(n)},
            "metric": {"extractive_match": score},
            "model_response": {"input": f"{system} {n}", "text": [f"It is {n}."], "output_tokens": [[5, 6, 7]]},
        }
        for n, score in enumerate(scores)
    ]
    details = folder / "details" / "org" / "small" / DATE
    results = folder / "results" / "org" / "small" / f"results_{DATE}.json"
    for parent in (details, results.parent):
        parent.mkdir(parents=True)
    parquet.write_table(arrow.Table.from_pylist(rows), details / f"details_lighteval|sums|0_{DATE}.parquet")
    config = {"model_name": "org/small", "system_prompt": system}
    results.write_text(json.dumps({"config_general": {"model_config": config}}))
    return folder


def inspect(file: Path, system: str, scores: Scores, *, epochs: int = 2, packed: str = "", **changes: Any) -> Path:
    """What `inspect eval` writes: one JSON file, or a zip of JSON files packed by `packed`."""
    samples = [
        {
            "id": f"q{n}", "epoch": epoch, "input": f"What is {n}+{n}?", "target": str(2 * n),
            "messages": [{"role": "system", "content": "attachment://1"}, {"role": "user", "content": "?"}],
            "attachments": {"1": system},
            "output": {
                "choices": [{"message": {"role": "assistant", "content": [{"type": "text", "text": f"It is {n}."}]}}],
                "usage": {"input_tokens": 9, "output_tokens": 5},
            },
            "scores": {"match": {"value": {1: "C", 0: "I", 0.5: "P"}[score], "answer": str(n)}},
        }
        for epoch in range(1, epochs + 1)
        for n, score in enumerate(scores)
    ]  # fmt: skip
    for sample in samples:
        sample["output"]["choices"][0]["stop_reason"] = "max_tokens" if sample["id"] == "q0" else "stop"  # type: ignore[index]
    head = {"version": 2, "status": "success", "eval": {"task": "sums", "model": "org/small"}, **changes}
    file.parent.mkdir(parents=True, exist_ok=True)
    if not packed:
        file.write_text(json.dumps(head | {"samples": samples}))
        return file
    members: dict[str, Any] = {f"samples/{s['id']}_epoch_{s['epoch']}.json": s for s in samples}
    write_zip(file, {key: json.dumps(page).encode() for key, page in (members | {"header.json": head}).items()}, packed)
    return file


def write_zip(file: Path, members: dict[str, bytes], packed: str) -> None:
    """A zip file; Python's own module cannot pack with zstandard, so that one is written by hand."""
    if packed == "deflate":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
            for name, data in members.items():
                out.writestr(name, data)
        return
    body, listing = b"", b""
    for name, data in members.items():
        small, text = arrow.compress(data, "zstd", asbytes=True), name.encode()
        sizes = struct.pack("<HHHIIIHH", 93, 0, 0, zlib.crc32(data), len(small), len(data), len(text), 0)
        position = struct.pack("<HHHII", 0, 0, 0, 0, len(body))
        listing += struct.pack("<IHHH", 0x02014B50, 63, 63, 0) + sizes + position + text
        body += struct.pack("<IHH", 0x04034B50, 63, 0) + sizes + text + small
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, len(members), len(members), len(listing), len(body), 0)
    file.write_bytes(body + listing + end)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return sweep_rows.read(folder, "sums")


def test_lm_eval_samples_become_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lm_eval(tmp_path / "logs" / "chemist", CHEMIST.system_prompt, [1, 0, 1, 0])
    lm_eval(tmp_path / "logs" / "plain", None, [1, 1, 1, 0])
    poet = lm_eval(tmp_path / "poet", POET, [1, 0, 0, 0])
    import_logs.import_logs("lm-eval", [tmp_path / "logs"], [f"poet={poet}"], out=tmp_path / "sweep")
    assert capsys.readouterr().out.startswith("sums: 4 problems x 1 runs x 2 personas\npss 0.500")
    rows = rows_of(tmp_path / "sweep")
    assert {row["persona"] for row in rows} == {CHEMIST.key, "none", "poet"}
    assert len(rows) == 12
    first = next(row for row in rows if row["persona"] == "poet")
    assert (first["problem_id"], first["run"], first["score"], first["status"]) == ("sums/0", 0, 1.0, "correct")
    assert (first["completion"], first["extracted"], first["tokens_out"]) == ("It is 0.", "0", None)
    summary = json.loads((tmp_path / "sweep" / "summary.json").read_text())["benchmarks"]["sums"]
    assert (summary["accuracy"], summary["pss"]["pss"]) == ({CHEMIST.key: 0.5, "none": 0.75, "poet": 0.25}, 0.5)
    assert summary["tokens_out"] is None
    assert summary["truncated"] is None
    assert list(summary["by_category"]) == [CHEMIST.category]


def test_lighteval_details_become_a_sweep(tmp_path: Path) -> None:
    logs = [lighteval(tmp_path / name, name, scores) for name, scores in (("cook", [1, 0]), ("poet", [0.5, 0]))]
    import_logs.import_logs("lighteval", persona=[f"{p.name}={p}" for p in logs], out=tmp_path / "sweep")
    rows = sweep_rows.read(tmp_path / "sweep", "lighteval-sums-0")
    assert [(r["persona"], r["score"], r["status"], r["tokens_out"]) for r in rows] == [
        ("cook", 1.0, "correct", 3), ("cook", 0.0, "wrong", 3), ("poet", 0.5, None, 3), ("poet", 0.0, "wrong", 3),
    ]  # fmt: skip


@pytest.mark.parametrize("packed", ["", "deflate", "zstandard"])
def test_inspect_logs_of_every_format_become_a_sweep_with_epochs_as_runs(packed: str, tmp_path: Path) -> None:
    ending = "eval" if packed else "json"
    inspect(tmp_path / "logs" / f"a.{ending}", CHEMIST.system_prompt, [1, 0], packed=packed)
    poet = inspect(tmp_path / f"b.{ending}", POET, [1, 1], packed=packed)
    import_logs.import_logs("inspect", [tmp_path / "logs"], [f"poet={poet}"], out=tmp_path / "sweep")
    rows = rows_of(tmp_path / "sweep")
    assert len(rows) == 8
    assert {row["run"] for row in rows} == {0, 1}
    assert {row["finish"] for row in rows if row["problem_id"] == "sums/q0"} == {"length"}
    assert {(row["completion"], row["tokens_out"]) for row in rows} == {("It is 0.", 5), ("It is 1.", 5)}


def edited(log: Path, **changes: Any) -> Path:
    """Change keys of every sample of an Inspect log."""
    content = json.loads(log.read_text())
    content["samples"] = [sample | changes for sample in content["samples"]]
    log.write_text(json.dumps(content))
    return log


def scores_of(log: Path, metric: str = "") -> list[float]:
    (content,) = inspect_logs.read(log, metric)
    return [answer.score for answer in content.answers]


@pytest.mark.parametrize(
    ("value", "score"),
    [
        *(("yes", 1), ("No", 0), ("TRUE", 1), ("false", 0), ("C", 1), ("I", 0), ("P", 0.5), ("N", 0), ("0.25", 0.25)),
        *((True, 1), (0.5, 0.5), *((value, None) for value in ("maybe", "c", "nan", "7", "", None, [1], -1))),
    ],
)
def test_a_text_is_a_score_by_inspects_own_rules(value: Any, score: float | None, tmp_path: Path) -> None:
    log = edited(inspect(tmp_path / "a.json", POET, [1], epochs=1), scores={"match": {"value": value}})
    if score is None:
        refused("Sample q0 of a.json has the score", "inspect", log)
    else:
        assert scores_of(log) == [score]


def test_a_value_of_a_dictionary_is_chosen_by_scorer_and_key(tmp_path: Path) -> None:
    scores = {"multi": {"value": {"correct": "C", "style": 0}}, "match": {"value": 0}}
    log = edited(inspect(tmp_path / "a.json", POET, [1], epochs=1), scores=scores)
    assert scores_of(log, "multi.correct") == [1]
    assert scores_of(log, "match") == [0]
    refused("several scores: choose one of multi.correct; multi.style with --metric", "inspect", log, metric="multi")
    refused("choose one of match; multi.correct; multi.style", "inspect", log)
    refused("no score 'multi.corect': did you mean 'multi.correct'", "inspect", log, metric="multi.corect")


@pytest.mark.parametrize("changes", [{"output": {"choices": []}}, {"output": None}, {"output": {"choices": None}}])
def test_a_sample_without_output_has_an_empty_completion(changes: dict[str, Any], tmp_path: Path) -> None:
    (log,) = inspect_logs.read(edited(inspect(tmp_path / "a.json", POET, [1, 0], epochs=1), **changes), "")
    assert [(answer.completion, answer.score) for answer in log.answers] == [("", 1), ("", 0)]


def test_a_folder_gives_the_newest_log_that_succeeded_of_each_evaluation(tmp_path: Path) -> None:
    for number, (status, score) in enumerate([("error", 0), ("success", 0), ("success", 1), ("cancelled", 0)]):
        inspect(tmp_path / "poet" / f"2026-11-2{number}_sums.json", POET, [score, 1], status=status)
    inspect(tmp_path / "poet" / "2026-11-29_sums.json", "You are a cook.", [0, 0])
    (tmp_path / "poet" / "logs.json").write_text(json.dumps({"2026-11-20_sums.json": {"status": "error"}}))
    (tmp_path / "poet" / "half.json").write_text("{")
    write_zip(
        tmp_path / "poet" / "b.eval",
        {"_journal/start.json": b'{"eval": {"task": "sums", "model": "org/small"}}'},
        "deflate",
    )
    selected, notes = foreign_logs.find(inspect_logs, tmp_path / "poet")
    assert [file.name for file in selected] == ["2026-11-22_sums.json", "2026-11-29_sums.json"]
    left_out = (
        "half.json",
        "logs.json",
        "2026-11-21_sums.json",
        "b.eval",
        "2026-11-23_sums.json",
        "2026-11-20_sums.json",
    )
    assert [note.partition(" ")[0] for note in notes] == list(left_out)
    cook = inspect(tmp_path / "cook.json", "You are a cook.", [0, 0], status="error")
    refused("cook.json ended with error", "inspect", cook)


def test_evaluations_with_ids_of_their_own_are_runs_and_a_retry_is_not(tmp_path: Path) -> None:
    for number, task_id in enumerate(("x", "x", "y")):
        spec = {"task": "sums", "model": "org/small", "task_id": task_id, "created": f"2026-11-2{number}"}
        inspect(tmp_path / f"{number}.json", POET, [1], eval=spec)
    assert [file.name for file in foreign_logs.find(inspect_logs, tmp_path)[0]] == ["1.json", "2.json"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_last_member_of_a_name_counts(tmp_path: Path) -> None:
    log = inspect(tmp_path / "a.eval", POET, [0, 1], epochs=1, packed="deflate")
    with zipfile.ZipFile(log, "a") as members:
        sample = json.loads(members.read("samples/q0_epoch_1.json"))
        sample["scores"]["match"]["value"] = "C"
        members.writestr("samples/q0_epoch_1.json", json.dumps(sample))
    assert scores_of(log) == [1, 1]


def test_scores_that_numpy_wrote_as_texts_and_blank_lines_are_read(tmp_path: Path) -> None:
    folder = lm_eval(tmp_path, POET, [1, 0], exact_match="True", target="True", acc="0.5")
    file = folder / f"samples_sums_{DATE}.jsonl"
    file.write_text("\n" + file.read_text().replace("\n", "\r\n") + "\n \n")
    for metric, score in (("exact_match", 1), ("acc", 0.5)):
        (log,) = lm_eval_samples.read(file, metric)
        assert [answer.score for answer in log.answers] == [score, score]


def test_several_logs_under_one_persona_are_runs(tmp_path: Path) -> None:
    for day, scores in (("2026-11-21", [1.0, 0.0]), ("2026-11-22", [1.0, 1.0])):
        for key in ("poet", "cook"):
            lm_eval(tmp_path / key, key, scores, date=f"{day}T09-05-18.972038")
    logs = [f"{key}={tmp_path / key}" for key in ("poet", "cook")]
    import_logs.import_logs("lm-eval", persona=logs, out=tmp_path / "sweep")
    summary = json.loads((tmp_path / "sweep" / "summary.json").read_text())["benchmarks"]["sums"]
    assert (summary["runs"], summary["pass_at"], summary["majority"]) == (2, {"1": 0.75, "2": 1.0}, 0.75)


def test_a_published_import_has_a_card_and_is_verified_from_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub: Hub = embedded(tmp_path / "cache")
    monkeypatch.setattr(hubs, "connect", lambda url: hub)
    logs = [f"{key}={lm_eval(tmp_path / key, key, [1, 0, 1])}" for key in ("poet", "cook")]
    import_logs.import_logs("lm-eval", persona=logs, publish="import-tests/small")
    published = capsys.readouterr().out.splitlines()[-1]
    head = hub.state("datasets/import-tests/small")
    assert head.intact
    assert published == f"{head.repo}@{head.sha}"
    assert {log["name"] for log in head.record["facts"]["logs"]} == {f"samples_sums_{DATE}.jsonl"}
    page = hub.download(published, "README.md").read_text()
    assert yaml.safe_load(page.split("---\n")[1])["configs"][0]["config_name"] == "sums"
    assert "recorded with lm-eval" in page
    assert str(tmp_path) not in page
    verify.verify("datasets/import-tests/small")
    assert "6 completions as they were scored, 0 scores and 0 of" in capsys.readouterr().out
    import_logs.import_logs("lm-eval", persona=logs, publish="import-tests/small")
    assert capsys.readouterr().out.splitlines()[-1] == published  # nothing new, no new commit
    lm_eval(tmp_path / "cook", "cook", [1, 1, 1])
    import_logs.import_logs("lm-eval", persona=logs, publish="import-tests/small")
    newer = capsys.readouterr().out.splitlines()[-1]
    assert hub.tags(head.repo) == {"v1.0.0": head.sha, "v1.1.0": newer.partition("@")[2]}


def refused(sentence: str, tool: str, *paths: Path, **settings: Any) -> None:
    with pytest.raises(BadInput, match=sentence) as failure:
        import_logs.import_logs(tool, list(paths), **settings)
    assert "\n" not in str(failure.value)


def test_logs_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    two = [f"{key}={lm_eval(tmp_path / key, key, [1.0] * n)}" for key, n in (("poet", 2), ("cook", 3))]
    refused("Problem 'sums/2' has", "lm-eval", persona=two)
    lm_eval(tmp_path / "cook", "cook", [1, 1], doc_hash="another")
    refused("Problem 0 of sums is one question under 'poet' and another under 'cook'", "lm-eval", persona=two)
    lm_eval(tmp_path / "cook", "cook", [1, 1])
    (tmp_path / "cook" / f"results_{DATE}.json").write_text('{"model_name": "org/large"}')
    refused(r"several models \(org/large, org/small\)", "lm-eval", persona=two)
    refused("All scores belong to the persona 'poet'", "lm-eval", persona=two[:1])


def test_scores_that_are_none_or_several_are_refused(tmp_path: Path) -> None:
    folder = lm_eval(tmp_path / "a", POET, [1, 0], f1=0.5)
    refused("several scores: choose one of exact_match,all; f1,all with --metric", "lm-eval", persona=[f"a={folder}"])
    lm_eval(tmp_path / "b", POET, [1, 0], f1=0.5)
    both = [f"{name}={tmp_path / name}" for name in "ab"]
    refused("no score 'exact': did you mean 'exact_match,all'", "lm-eval", persona=both, metric="exact")
    import_logs.import_logs("lm-eval", persona=both, metric="f1", out=tmp_path / "sweep")
    assert {row["score"] for row in rows_of(tmp_path / "sweep")} == {0.5}
    refused("holds no score: evaluate it again", "lm-eval", lm_eval(tmp_path / "c", POET, [1], exact_match="none"))
    refused("the score 3: it should be a number from 0 to 1", "lm-eval", lm_eval(tmp_path / "d", POET, [3]))
    log = inspect(tmp_path / "e.json", POET, [1])
    text = json.loads(log.read_text())
    text["samples"][1]["scores"] = None
    log.write_text(json.dumps(text))
    refused("Sample q0 of e.json has no score", "inspect", log)
    refused("ended with error", "inspect", inspect(tmp_path / "f.json", POET, [1], status="error"))


def test_half_a_character_and_another_word_for_the_limit_are_read(tmp_path: Path) -> None:
    log = inspect(tmp_path / "a.json", POET, [1, 0])
    content = json.loads(log.read_text())
    choice = content["samples"][0]["output"]["choices"][0]
    choice["stop_reason"], choice["message"]["content"] = "model_length", "half \ud83d"
    log.write_text(json.dumps(content))
    inspect(tmp_path / "b.json", POET, [1, 1])
    persona = [f"{name}={tmp_path / name}.json" for name in "ab"]
    import_logs.import_logs("inspect", persona=persona, out=tmp_path / "sweep")
    (row,) = [row for row in rows_of(tmp_path / "sweep") if row["completion"].startswith("half")]
    assert (row["completion"], row["finish"]) == ("half \ufffd", "length")


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1, 2]")
    refused("permix cannot read logs of .helm.: known: inspect, lighteval, lm-eval", "helm", tmp_path)
    refused("There is no .*nowhere", "inspect", tmp_path / "nowhere")
    refused(r"There is no samples_\*.jsonl in", "lm-eval", tmp_path)
    refused("x.json is not a samples file of lm-eval", "lm-eval", tmp_path / "x.json")
    refused("x.json is not a details file of lighteval", "lighteval", tmp_path / "x.json")
    refused("x.json is not a log as Inspect writes it", "inspect", tmp_path)
    (tmp_path / "x.eval").write_bytes(b"PK no more")
    refused("x.eval is not a log as Inspect writes it", "inspect", tmp_path / "x.eval")
    folder = lm_eval(tmp_path / "a", POET, [1])
    refused("'You are a poet.', is not a persona of ours: give its log with a name", "lm-eval", folder)
    (folder / f"samples_sums_{DATE}.jsonl").write_text('{"doc_id": 0}\n')
    refused("holds no score", "lm-eval", folder)
    (folder / f"samples_sums_{DATE}.jsonl").write_text('{"doc_id": 0, "acc": 1.0}\n')
    refused("is not as lm-eval 0.4 writes it", "lm-eval", folder)
    (folder / f"results_{DATE}.json").unlink()
    refused("with the system prompt: add it", "lm-eval", folder)


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    refused("nothing to import", "lm-eval")
    refused("--persona 'poet' should be NAME=PATH", "lm-eval", persona=["poet"])
    refused("--publish 'small' should be ORG/NAME", "lm-eval", tmp_path, publish="small")
    refused("is there already", "lm-eval", tmp_path, out=tmp_path)


def test_every_tool_has_its_module() -> None:
    for name in foreign_logs.TOOLS:
        reader = foreign_logs.tool(name)
        assert reader.PATTERNS
        assert callable(reader.read)
