"""Training sets: the same problems for both variants, a persona drawn for each where the variant wants one."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from permix import benchmarks
from permix.benchmarks import Source
from permix.errors import BadInput
from permix.paper import variants
from permix.parquet import write
from permix.pipeline import plan, recipes
from permix.prompting import persona, prompts
from permix.publishing.hub import RepositoryState
from permix.stages import mixtures, personas
from permix.stages.shared import written_targets
from tests.support.cases import cases
from tests.support.models import make_tiny_tokenizer
from tests.support.quiz import QUIZ, quiz

SMOKE = recipes.load("smoke")
EVERY = [row.name for row in variants.VARIANTS.values() if row.teacher in ("", "toy")]


@pytest.fixture
def pools(tmp_path: Path) -> Path:
    (tmp_path / "pools").mkdir()
    personas.run(personas.configs(SMOKE)[0], {}, tmp_path / "pools", context=None)  # type: ignore[arg-type]
    return tmp_path / "pools"


def config_of(name: str, **settings: Any) -> mixtures.Config:
    every = replace(SMOKE, variants=tuple(EVERY))
    return replace(next(c for c in mixtures.configs(every) if c.variant == name), **settings)


def rows(config: mixtures.Config, out: Path, **inputs: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    out.mkdir()
    facts = mixtures.run(config, inputs, out, context=None)  # type: ignore[arg-type]
    table = parquet.read_table(out / "data" / "train-00000-of-00001.parquet")
    target = ["completion"] if variants.get(config.variant).trainer == "sft" else []
    assert table.column_names == ["problem_id", "question", "gold", "kind", "persona", "prompt", *target]
    return table.to_pylist(), facts


def test_both_variants_hold_the_same_problems_and_one_has_personas(pools: Path, tmp_path: Path) -> None:
    plain, plain_facts = rows(config_of("rlvr"), tmp_path / "a", personas=pools)
    mixed, mixed_facts = rows(config_of("permix-rlvr"), tmp_path / "b", personas=pools)
    assert [(r["problem_id"], r["gold"]) for r in plain] == [(r["problem_id"], r["gold"]) for r in mixed]
    assert all(r["persona"] is None and [m["role"] for m in r["prompt"]] == ["user"] for r in plain)
    by_key = {p.key: p for p in persona.bundled("train")}
    for row in mixed:
        assert row["persona"] == persona.draw(persona.bundled("train"), 0, row["problem_id"]).key
        assert row["prompt"] == prompts.messages(row["question"], by_key[row["persona"]], "plain")
    overlap = plain_facts.pop("overlap")
    assert plain_facts == {"rows": 16, "problems": 16, "personas": {"none": 16}}
    assert set(overlap) == {source.name for source in SMOKE.benchmarks}
    assert mixed_facts["overlap"] == overlap
    assert mixed_facts["personas"] == dict(sorted(Counter(r["persona"] for r in mixed).items()))


def test_no_persona_of_the_evaluation_is_trained_on(pools: Path, tmp_path: Path) -> None:
    config = config_of("permix-rlvr", task=replace(SMOKE.task, limit=400))
    table, _ = rows(config, tmp_path / "a", personas=pools)
    assert {r["persona"] for r in table} == {p.key for p in persona.bundled("train")}
    assert not {r["persona"] for r in table} & {p.key for p in persona.bundled("eval")}


def test_further_epochs_and_seeds_draw_anew(pools: Path, tmp_path: Path) -> None:
    table, facts = rows(config_of("permix-rlvr", epochs=2), tmp_path / "a", personas=pools)
    first, second = table[:16], table[16:]
    assert [r["problem_id"] for r in first] == [r["problem_id"] for r in second]
    assert facts["rows"] == 32
    assert [r["persona"] for r in first] != [r["persona"] for r in second]
    other, _ = rows(config_of("permix-rlvr", seed=1), tmp_path / "b", personas=pools)
    assert [r["persona"] for r in other] != [r["persona"] for r in first]
    with pytest.raises(BadInput, match="epochs is 0: it should be at least 1"):
        config_of("rlvr", epochs=0)


def test_a_task_of_ones_own(pools: Path, tmp_path: Path) -> None:
    task = replace(QUIZ, split="train", instruction="boxed")
    config = config_of("rlvr", task=task)
    assert mixtures.inputs(config)["task"] == "datasets/me/quiz"
    assert mixtures.target(config) == "datasets/permix-smoke/permix-mixture-quiz-rlvr"
    table, _ = rows(config, tmp_path / "a", personas=pools, task=quiz(tmp_path / "quiz", split="train"))
    assert [(r["gold"], r["kind"]) for r in table] == [("Ann", "exact"), ("3", "exact"), ("Here", "exact")]
    assert table[0]["prompt"][0]["content"].endswith("put your final answer within \\boxed{}.")


def test_what_a_benchmark_shares_with_the_mixture_is_told_and_makes_nothing_stale(pools: Path, tmp_path: Path) -> None:
    shared_text = "Ann has twelve pens and buys three more of them, how many?"
    task = replace(QUIZ, split="train")
    config = config_of("rlvr", task=task, benchmarks=(replace(QUIZ, name="seen"),))
    train = quiz(tmp_path / "train", [{"q": shared_text, "a": "15"}, {"q": "Who?", "a": "Ann"}], "train")
    seen = quiz(tmp_path / "seen", [{"q": shared_text.upper(), "a": "15"}, {"q": "Where is it?", "a": "Here"}])
    _, facts = rows(config, tmp_path / "a", personas=pools, task=train, **{"benchmark/seen": seen})
    assert facts["overlap"] == {"seen": {"n": 8, "train": 2, "test": 2, "found": 1, "share": 0.5}}
    assert mixtures.inputs(config)["benchmark/seen"] == "datasets/me/quiz"
    steps = [plan.Step(mixtures.STAGE, config, "datasets/o/m", needs) for needs in ({}, {"benchmark/seen": "r"})]
    head = RepositoryState("r", "sha", {}, {"content_digest": "d"})
    assert all(step.settle({"r": head}) for step in steps)
    assert steps[0].digest == steps[1].digest


def test_a_gold_that_cannot_be_checked_is_refused(pools: Path, tmp_path: Path) -> None:
    task = Source(name="quiz", dataset="me/quiz", problem="q", answer="a", split="train")
    folder = quiz(tmp_path / "quiz", [{"q": "1 + 1?", "a": "2"}, {"q": "Half?", "a": "\\frac{1"}], "train")
    with pytest.raises(BadInput, match="of problem quiz/train/1 is not a number or formula"):
        rows(config_of("rlvr", task=task), tmp_path / "a", personas=pools, task=folder)


def test_own_pools_that_overlap_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pools").mkdir()
    for split in ("train", "eval"):
        (tmp_path / "pools" / f"{split}.json").write_text('[{"key": "a", "category": "c", "system_prompt": "You."}]')
    with pytest.raises(BadInput, match="'a' is in both pools"):
        rows(config_of("rlvr"), tmp_path / "a", personas=tmp_path / "pools")


def test_gold_targets_are_the_rationales_and_share_the_draw_of_grpo(pools: Path, tmp_path: Path) -> None:
    problems = benchmarks.load(SMOKE.task, None)
    plain, _ = rows(config_of("sft"), tmp_path / "a", personas=pools)
    mixed, _ = rows(config_of("permix-sft-gold"), tmp_path / "b", personas=pools)
    rewarded, _ = rows(config_of("permix-rlvr"), tmp_path / "c", personas=pools)
    expected = [[{"role": "assistant", "content": problem.rationale}] for problem in problems]
    assert [row["completion"] for row in plain] == [row["completion"] for row in mixed] == expected
    assert [row["prompt"] for row in mixed] == [row["prompt"] for row in rewarded]


@pytest.mark.parametrize(("answer", "sentence"), cases(__file__)["refused rationales"])
def test_a_missing_or_wrong_rationale_is_refused(answer: str, sentence: str, pools: Path, tmp_path: Path) -> None:
    rationale = "how" if answer else ""  # a column with an empty text is refused when it is read
    task = Source(name="quiz", dataset="me/quiz", problem="q", answer="a", rationale=rationale, split="train")
    folder = quiz(tmp_path / "quiz", [{"q": "1 + 1?", "a": "2", "how": answer}], "train")
    with pytest.raises(BadInput, match=sentence):
        rows(config_of("sft", task=task), tmp_path / "a", personas=pools, task=folder)
    with pytest.raises(BadInput, match=sentence):  # before anything expensive is made
        mixtures.check(config_of("sft", task=task), {"personas": pools, "task": folder})
    rows(config_of("rlvr", task=task), tmp_path / "b", personas=pools, task=folder)  # which needs none


def write_answers(folder: Path, part: str, rows: list[tuple[str, str | None]]) -> Path:
    """A dataset of targets, (target, persona) for each problem, as stages rewrites and teachers write it."""
    answers = [
        dict.fromkeys(written_targets.COLUMNS)
        | {"problem_id": f"p/{n}", "question": f"{n} + 0?", "gold": str(n), "kind": "math", "persona": persona}
        | {"messages": [{"role": "user", "content": "what the writer was asked"}], "completion": text, "tokens_out": 7}
        for n, (text, persona) in enumerate(rows)
    ]
    write(answers, written_targets.COLUMNS, folder / part / "train-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize(("name", "part", "speaker", "repo"), cases(__file__)["targets"])
def test_targets_of_a_model(name: str, part: str, speaker: str | None, repo: str, pools: Path, tmp_path: Path) -> None:
    config = config_of(name)
    assert mixtures.inputs(config)["targets"] == f"datasets/permix-smoke/{repo}"
    answers = [("It is 0.", speaker), ("It is 9.", speaker)]  # wrong ones may stay
    folder = write_answers(tmp_path / "targets", part, answers)
    table, facts = rows(config, tmp_path / "a", personas=pools, targets=folder)
    chef = next(p for p in persona.bundled("train") if p.key == "chef") if speaker else None
    assert [row["prompt"] for row in table] == [prompts.messages(f"{n} + 0?", chef, "plain") for n in (0, 1)]
    assert [row["completion"][0]["content"] for row in table] == ["It is 0.", "It is 9."]
    del facts["overlap"]
    assert facts == {"rows": 2, "problems": 2, "personas": {speaker or "none": 2}, "tokens_of_targets": 14}


@pytest.mark.parametrize(("target", "persona", "sentence"), cases(__file__)["refused targets"])
def test_bad_targets_are_refused(target: str, persona: str | None, sentence: str, pools: Path, tmp_path: Path) -> None:
    folder = write_answers(tmp_path / "targets", "data/persona", [(target, persona)])
    with pytest.raises(BadInput, match=sentence):
        rows(config_of("permix-seqkd-toy"), tmp_path / "a", personas=pools, targets=folder)


def test_rows_over_a_limit_are_left_out_and_counted_never_cut(pools: Path, tmp_path: Path) -> None:
    make_tiny_tokenizer().save_pretrained(tmp_path / "base")
    text = ["mixtures.max_prompt_tokens=100"]
    config = next(c for c in mixtures.configs(recipes.load("smoke", text)) if c.variant == "rlvr")
    assert mixtures.inputs(config)["base"] == "permix-smoke/permix-toy-base"
    every, _ = rows(config_of("rlvr"), tmp_path / "a", personas=pools)
    lengths = sorted(len(row["prompt"][0]["content"]) + 3 for row in every)  # bytes, and three marks of the template
    limit = lengths[5]
    config = replace(config, max_prompt_tokens=limit)
    table, facts = rows(config, tmp_path / "b", personas=pools, base=tmp_path / "base")
    assert facts["rows"] == len(table) == sum(length <= limit for length in lengths) < 16
    assert facts["too_long"] == 16 - len(table)
    assert all(row in every for row in table)
    with pytest.raises(BadInput, match="Every one of the 16 rows for rlvr is longer than"):
        rows(replace(config, max_prompt_tokens=2), tmp_path / "c", personas=pools, base=tmp_path / "base")
    with pytest.raises(BadInput, match="max_completion_tokens is -1"):
        replace(config, max_completion_tokens=-1)


def test_targets_over_a_limit_are_left_out_too(pools: Path, tmp_path: Path) -> None:
    make_tiny_tokenizer().save_pretrained(tmp_path / "base")
    folder = write_answers(tmp_path / "targets", "data/plain", [("0" * 9, None), ("0" * 10, None)])
    config = config_of("seqkd-toy", base="org/base", max_completion_tokens=9)
    table, facts = rows(config, tmp_path / "a", personas=pools, targets=folder, base=tmp_path / "base")
    assert [row["problem_id"] for row in table] == ["p/0"]
    assert facts["too_long"] == 1
