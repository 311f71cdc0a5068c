"""Pools are the paper's, disjoint, and drawn from uniformly."""

import json
from collections import Counter
from pathlib import Path

import pytest

from permix.errors import BadInput
from permix.prompting import persona
from tests.support.cases import cases


def test_the_bundled_pools_have_the_papers_sizes_and_are_disjoint() -> None:
    train, held_out = persona.bundled("train"), persona.bundled("eval")
    assert (len(train), len(held_out)) == (25, 16)
    persona.refuse_overlap(train, held_out)


def test_the_bundled_pools_are_the_papers_to_the_letter(shared: Path) -> None:
    paper = json.loads((shared / "paper" / "personas.json").read_text())
    for split in ("train", "eval"):
        assert [vars(p) for p in persona.bundled(split)] == paper[split]


def test_a_draw_depends_on_seed_problem_and_epoch_only_and_is_uniform() -> None:
    pool = persona.bundled("train")
    draws = [persona.draw(pool, 0, f"p{i}").key for i in range(25_000)]
    assert draws == [persona.draw(pool, 0, f"p{i}").key for i in range(25_000)]
    assert draws[:100] != [persona.draw(pool, 1, f"p{i}").key for i in range(100)]
    assert draws[:100] != [persona.draw(pool, 0, f"p{i}", epoch=1).key for i in range(100)]
    counts = Counter(draws)
    assert len(counts) == 25
    # Chi-square with 24 degrees of freedom: above 51.2 once in a thousand.
    assert sum((n - 1000) ** 2 / 1000 for n in counts.values()) < 51.2


ROW = {"key": "a", "category": "c", "system_prompt": "You are a."}
BAD = {
    "duplicate key": ([ROW, ROW | {"system_prompt": "You are b."}], "'a' appears twice"),
    "empty prompt": ([ROW | {"system_prompt": "  "}], "empty key or system_prompt"),
    "missing column": ([{"key": "a", "category": "c"}], "no text under system_prompt"),
    "reserved key": ([ROW | {"key": "none"}], "'none' .* reserved for the control"),
    "no persona": ([], "holds no persona"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(case: str, tmp_path: Path) -> None:
    rows, sentence = BAD[case]
    (tmp_path / "eval.json").write_text(json.dumps(rows))
    with pytest.raises(BadInput, match=sentence):
        persona.load(tmp_path, "eval")


def test_refuses_pools_that_overlap_by_key_or_by_text() -> None:
    first = persona.Persona("a", "c", "You are a.")
    for other in (persona.Persona("a", "c", "You are b."), persona.Persona("b", "c", "You are a.")):
        with pytest.raises(BadInput, match="in both pools"):
            persona.refuse_overlap([first], [other])


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="The split 'train' of the personas dataset cannot be read"):
        persona.load(tmp_path, "train")


@pytest.mark.parametrize("ending", ["json", "jsonl", "csv", "parquet"])
def test_pools_are_read_from_any_usual_file(ending: str, tmp_path: Path) -> None:
    import pyarrow as arrow
    import pyarrow.csv as csv
    import pyarrow.parquet as parquet

    for split, start in (("train", 0), ("eval", 10)):
        rows = [ROW | {"key": f"k{start + n}", "system_prompt": f"You are {start + n}."} for n in range(3)]
        path = tmp_path / f"{split}.{ending}"
        if ending == "json":
            path.write_text(json.dumps(rows))
        elif ending == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            write = csv.write_csv if ending == "csv" else parquet.write_table
            write(arrow.Table.from_pylist(rows), path)
    assert [p.key for p in persona.load(tmp_path, "train")] == ["k0", "k1", "k2"]
    assert [p.key for p in persona.load(tmp_path, "eval")] == ["k10", "k11", "k12"]


OWN = [("sailor", "You are an old sailor."), ("clown", "You are a clown.")]


def test_a_file_of_ones_own_is_json_or_toml(tmp_path: Path) -> None:
    rows = [{"key": key, "category": "Own", "system_prompt": text} for key, text in OWN]
    (tmp_path / "own.json").write_text(json.dumps(rows))
    lines = [f'[[persona]]\nkey = "{key}"\ncategory = "Own"\nsystem_prompt = "{text}"\n' for key, text in OWN]
    (tmp_path / "own.toml").write_text("\n".join(lines))
    expected = [persona.Persona(key, "Own", text) for key, text in OWN]
    assert persona.from_file(tmp_path / "own.json") == expected
    assert persona.from_file(tmp_path / "own.toml") == expected


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    "text",
    [
        '[{"key": "a", "category": "Own", "system_prompt": "Ünï"}]',
        '[[persona]]\r\nkey="a"\r\ncategory="Own"\r\nsystem_prompt="Ünï"',
    ],
)
def test_a_file_of_notepad_begins_with_a_byte_order_mark(text: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / ("own.json" if text.startswith("[{") else "own.toml")
    path.write_bytes(text.encode(encoding))
    assert persona.from_file(path) == [persona.Persona("a", "Own", "Ünï")]


@pytest.mark.parametrize(("name", "text", "sentence"), cases(__file__)["refused files"])
def test_a_file_without_a_pool_is_refused_in_one_sentence(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=sentence):
        persona.from_file(tmp_path / name)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"There is no file .*people.json: give the path"):
        persona.from_file(tmp_path / "people.json")


@pytest.mark.parametrize(("path", "label"), [("a/my people.json", "my-people"), ("x.toml", "x"), ("é.json", "own")])
def test_a_files_name_becomes_part_of_names_on_the_hub(path: str, label: str) -> None:
    assert persona.label(path) == label
