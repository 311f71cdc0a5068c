"""A real, tiny sweep: what is sampled, how it is graded, and that its numbers follow from its rows."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from permix import benchmarks, run_record
from permix.errors import BadInput, PermixError
from permix.pipeline import recipes
from permix.results.reporting import tabular
from permix.run_record import canonical
from permix.sampling import engines
from permix.sampling.engines.endpoint import pace
from permix.sampling.sampler import Completion, Engine, Request, Sampler
from permix.stages import sweep
from permix.stages.shared import models, sweep_rows
from permix.verifier import Problem
from tests.support.cases import cases
from tests.support.faulty_server import Answer, Asked, FaultyServer, completion, error, fine
from tests.support.models import TEMPLATE, make_tiny_model
from tests.support.quiz import QUIZ, ROWS, quiz
from tests.support.sweeps import CONFIG, POOL, SERVED, parts_of, people, run_served, served

Swept = tuple[Path, dict[str, Any]]
Served = tuple[Path, dict[str, Any], list[Asked]]
CONDITIONS = ["none", "helpful", "sage", "fool"]
CONTROLS = {"none": "", "helpful": "You are a helpful assistant."}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny base, two personas, and a quiz."""
    root = tmp_path_factory.mktemp("sweep")
    make_tiny_model(root / "base")
    return {"base": root / "base", "personas": people(root / "people"), "benchmark/quiz": quiz(root / "quiz")}


@pytest.fixture(scope="module")
def engine(inputs: dict[str, Path]) -> Iterator[Sampler]:
    sampler = engines.open_engine(Engine(base=inputs["base"], batch_size=8))
    yield sampler
    sampler.close()


@pytest.fixture(scope="module")
def swept(inputs: dict[str, Path], engine: Sampler, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    out = tmp_path_factory.mktemp("swept")
    facts = sweep.run(CONFIG, inputs, out, context=parts_of(out.parent / "work", lambda _: engine))
    return out, facts


def test_every_condition_has_its_row(swept: Swept) -> None:
    out, facts = swept
    for name in ("quiz", "arithmetic"):
        rows = sweep_rows.read(out, name)
        assert list(rows[0]) == list(sweep_rows.COLUMNS)
        assert {r["persona"]: r["system_prompt"] for r in rows} == dict(POOL) | CONTROLS
        assert Counter(row["persona"] for row in rows) == dict.fromkeys(CONDITIONS, 3 * 2)
        assert len({(r["persona"], r["problem_id"], r["run"]) for r in rows}) == 4 * 3 * 2
        assert {r["base_dtype"] for r in rows} == {"float32"}
        assert {r["adapter_digest"] for r in rows} == {""}
    assert {r["question"]: r["gold"] for r in sweep_rows.read(out, "quiz")} == {str(r["q"]): str(r["a"]) for r in ROWS}
    tokens = sum(row["tokens_out"] for name in ("quiz", "arithmetic") for row in sweep_rows.read(out, name))
    assert facts["cost"]["completions"] == 48
    assert facts["cost"]["tokens_out"] == tokens > 0


def test_seeds_differ_in_every_condition_and_prompts_between_personas(swept: Swept) -> None:
    rows = [row for name in ("quiz", "arithmetic") for row in sweep_rows.read(swept[0], name)]
    assert len({row["seed"] for row in rows}) == len(rows)
    prompts = {(row["persona"], row["problem_id"]): row["prompt_digest"] for row in rows}
    assert len(set(prompts.values())) == len(prompts) == 4 * 6


def test_controls_are_measured_beside_the_personas_and_stay_out_of_pss(swept: Swept) -> None:
    summary = swept[1]["summary"]["benchmarks"]["quiz"]
    assert list(summary["accuracy"]) == CONDITIONS
    assert (summary["personas"], summary["runs"], summary["problems"]) == (2, 2, 3)
    assert {summary["pss"]["worst_persona"], summary["pss"]["best_persona"]} <= {"sage", "fool"}


def scored(scores: dict[str, float], problems: int = 4) -> list[dict[str, Any]]:
    """Rows in which each persona solves the first so many of the problems."""
    plain = {"run": 0, "completion": "", "finish": "stop", "tokens_out": 5}
    return [
        plain | {"problem_id": f"p{n}", "persona": key, "score": float(n < share * problems)}
        for key, share in scores.items()
        for n in range(problems)
    ]


def test_the_numbers_are_those_of_the_rows() -> None:
    config = replace(CONFIG, toy=False)
    rows = scored({"none": 0.0, "helpful": 1.0, "sage": 0.75, "fool": 0.25})
    rows[0]["finish"] = "length"
    summary = sweep.summarise(config, {"quiz": rows})["benchmarks"]["quiz"]
    assert summary["accuracy"] == {"none": 0.0, "helpful": 1.0, "sage": 0.75, "fool": 0.25}
    pss = summary["pss"]
    assert (pss["worst"], pss["best"], pss["mean"]) == (0.25, 0.75, 0.5)
    assert pss["pss"] == pytest.approx(1 / 3)
    assert (summary["truncated"], summary["tokens_out"]) == (round(1 / 16, 6), 5.0)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_numbers_without_the_problems_that_are_marked_as_broken_stand_beside() -> None:
    rows = scored({"none": 1.0, "helpful": 1.0, "sage": 1.0, "fool": 1.0})
    first, *others = dict.fromkeys(row["problem_id"] for row in rows)
    for row in rows:
        row |= {"erratum": "", "score": 1.0} if row["problem_id"] != first else {"erratum": "wrong tests", "score": 0.0}
    summary = sweep.summarise(CONFIG, {"quiz": rows})["benchmarks"]["quiz"]
    assert summary["pss"]["mean"] == len(others) / (len(others) + 1)
    assert (summary["sound"]["left_out"], summary["sound"]["problems"]) == ({first: "wrong tests"}, len(others))
    assert summary["sound"]["pss"]["mean"] == summary["sound"]["accuracy"]["none"] == 1.0
    sound = [row | {"erratum": ""} for row in rows]
    assert "sound" not in sweep.summarise(CONFIG, {"quiz": sound})["benchmarks"]["quiz"]


def test_the_summary_is_a_function_of_the_rows_alone(swept: Swept) -> None:
    out, facts = swept
    again = canonical(sweep.summarise(CONFIG, {name: sweep_rows.read(out, name) for name in ("quiz", "arithmetic")}))
    assert again == canonical(facts["summary"]) == json.loads((out / "summary.json").read_text())


def test_nothing_right_at_all_gives_no_pss_but_numbers() -> None:
    summary = sweep.summarise(CONFIG, {"quiz": scored(dict.fromkeys(CONDITIONS, 0.0))})["benchmarks"]["quiz"]
    assert summary["pss"]["pss"] is None
    assert summary["pss"]["floor"] is True
    assert summary["pss"]["mean"] == 0.0
    json.dumps(summary, allow_nan=False)


def test_regrading_gives_the_stored_scores(swept: Swept, inputs: dict[str, Path]) -> None:
    for name, problems in sweep.problems_of(CONFIG, inputs).items():
        stored = sweep_rows.read(swept[0], name)
        assert sweep_rows.regrade(stored, problems) == stored


def test_another_answer_rule_grades_the_same_completions_otherwise(inputs: dict[str, Path]) -> None:
    completions = ["So it is 7.", "Answer: 7", "\\boxed{7}"]
    scores = {}
    for rule in ("marked", "boxed", "last-number"):
        first = sweep.problems_of(replace(CONFIG, answer_rule=rule), inputs)["arithmetic"][0]
        rows = [{"problem_id": first.id, "completion": text, "finish": "stop"} for text in completions]
        scores[rule] = [row["extracted"] for row in sweep_rows.regrade(rows, [first])]
    expected = {"marked": [None, "7", "7"], "boxed": [None, None, "7"], "last-number": ["7", "7", "7"]}
    assert scores == expected


def test_regrading_notices_a_changed_score_and_an_unknown_problem(inputs: dict[str, Path]) -> None:
    problems = [Problem("p0", "Who?", "Ann", "exact")]
    row = {"problem_id": "p0", "completion": "It is \\boxed{Ann}.", "finish": "stop", "score": 0.0, "status": "wrong"}
    (graded,) = sweep_rows.regrade([row], problems)
    assert (graded["score"], graded["status"], graded["extracted"]) == (1.0, "correct", "Ann")
    with pytest.raises(PermixError, match="answers p9, which its benchmark no longer holds"):
        sweep_rows.regrade([row | {"problem_id": "p9"}], problems)


def test_a_truncated_answer_is_graded_as_it_is(inputs: dict[str, Path]) -> None:
    problems = [Problem("p0", "Who?", "Ann", "exact")]
    row = {"problem_id": "p0", "completion": "\\boxed{Ann} and", "finish": "length"}
    assert sweep_rows.regrade([row], problems)[0]["score"] == 1.0


@dataclass
class Flaky:
    """A sampler whose engine fails for some requests."""

    real: Sampler
    fails: Callable[[Request], bool]
    dtype: str = "float32"

    def sample(self, requests: Sequence[Request], journal: Any = None, progress: Any = None) -> Iterator[Completion]:
        bad = {r.id for r in requests if self.fails(r)}
        yield from self.real.sample([r for r in requests if r.id not in bad])
        yield from (Completion(i, "", 3, 0, "error", "flaky", "") for i in sorted(bad))

    def close(self) -> None:
        pass


def test_a_row_without_a_score_stops_the_publication(inputs: dict[str, Path], engine: Sampler, tmp_path: Path) -> None:
    flaky = Flaky(engine, lambda request: "|fool|" in request.id and request.id.startswith("quiz"))
    (tmp_path / "out").mkdir()
    with pytest.raises(PermixError, match=r"sweep on quiz lacks scores \(6 x engine_error\): run it again"):
        sweep.run(CONFIG, inputs, tmp_path / "out", context=parts_of(tmp_path / "work", lambda _: flaky))
    assert not (tmp_path / "out" / "summary.json").exists()


def test_a_killed_sweep_has_equal_rows(swept: Swept, inputs: dict[str, Path], engine: Sampler, tmp_path: Path) -> None:
    parts = parts_of(tmp_path / "work", lambda _: engine)

    def killed(done: float, total: float, unit: str, note: str = "") -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    (tmp_path / "out").mkdir()
    with pytest.raises(KeyboardInterrupt):
        sweep.run(CONFIG, inputs, tmp_path / "out", context=replace(parts, progress=killed))
    seen: list[float] = []
    sweep.run(CONFIG, inputs, tmp_path / "out", context=replace(parts, progress=lambda done, *_: seen.append(done)))
    assert seen[0] > 24  # what was journalled is not sampled again
    for name in ("quiz", "arithmetic"):
        assert sweep_rows.read(tmp_path / "out", name) == sweep_rows.read(swept[0], name)


def test_a_sweep_killed_in_a_second_round_resumes(inputs: dict[str, Path], engine: Sampler, tmp_path: Path) -> None:
    config = replace(CONFIG, peer="restate", benchmarks=CONFIG.benchmarks[1:])
    parts = parts_of(tmp_path / "work", lambda _: engine)
    seen: list[tuple[float, float]] = []

    def killed(done: float, total: float, unit: str, note: str = "") -> None:
        seen.append((done, total))
        if total == 18 and done > 9:  # all but `none` have a second round
            raise KeyboardInterrupt

    for name in ("out", "whole"):
        (tmp_path / name).mkdir()
    with pytest.raises(KeyboardInterrupt):
        sweep.run(config, inputs, tmp_path / "out", context=replace(parts, progress=killed))
    seen.clear()
    again = replace(parts, progress=lambda done, total, *_: seen.append((done, total)))
    sweep.run(config, inputs, tmp_path / "out", context=again)
    assert seen[0] == (24, 24)
    assert next(done for done, total in seen if total == 18) > 9
    sweep.run(config, inputs, tmp_path / "whole", context=parts_of(tmp_path / "other", lambda _: engine))
    assert sweep_rows.read(tmp_path / "out", "arithmetic") == sweep_rows.read(tmp_path / "whole", "arithmetic")


def with_template(inputs: dict[str, Path], folder: Path, template: str) -> dict[str, Path]:
    """The inputs with another chat template in the base."""
    base = Path(shutil.copytree(inputs["base"], folder / "base"))
    (base / "chat_template.jinja").write_text(template)
    return inputs | {"base": base}


@pytest.mark.parametrize("peer", ["", "restate", "ensemble"])
def test_a_base_that_hides_personas_is_refused(inputs: dict[str, Path], tmp_path: Path, peer: sweep.Name) -> None:
    hiding = with_template(inputs, tmp_path, TEMPLATE.replace("in messages", "in messages if message.role != 'system'"))
    parts = parts_of(tmp_path / "work", engines.open_engine)
    with pytest.raises(BadInput, match="leaves out system messages, which carry the personas"):
        sweep.run(replace(CONFIG, peer=peer), hiding, tmp_path / "out", context=parts)
    assert not list((tmp_path / "work").glob("*.jsonl"))


def test_the_templates_default_system_message_is_a_fact(swept: Swept, inputs: dict[str, Path], tmp_path: Path) -> None:
    default = "{% if messages[0].role != 'system' %}<|system|>You are Qwen.<|end|>{% endif %}"
    (tmp_path / "out").mkdir()
    parts = parts_of(tmp_path / "work", engines.open_engine)
    config = replace(CONFIG, benchmarks=CONFIG.benchmarks[1:])
    facts = sweep.run(config, with_template(inputs, tmp_path, default + TEMPLATE), tmp_path / "out", context=parts)
    assert facts["default_system"] == "You are Qwen."
    assert "default_system" not in swept[1]


def test_seeds_depend_on_everything_that_names_a_completion() -> None:
    noise, plain = (0, "base"), ("quiz", "p0", "sage", 0)
    conditions = (("gsm8k", "p0", "sage", 0), ("quiz", "p1", "sage", 0), ("quiz", "p0", "fool", 0), (*plain[:3], 1))
    others = [sweep_rows.condition_seed(noise, *condition) for condition in conditions]
    others += [sweep_rows.condition_seed(other, *plain) for other in ((1, "base"), (0, "rlvr"))]
    assert len({sweep_rows.condition_seed(noise, *plain), *others}) == 7
    assert all(0 <= seed < 2**63 for seed in others)


def test_a_trained_variant_needs_its_adapter_and_shares_the_engine_of_its_base() -> None:
    loaded = recipes.load("toy", ["tag=try"])
    base, rlvr, mixed = sweep.configs(loaded)
    assert sweep.inputs(base).keys() == {"base", "personas"}
    assert sweep.inputs(rlvr)["adapter"] == "permix/permix-toy-rlvr-try"
    assert models.group(base) == models.group(rlvr) == models.group(mixed)
    target = sweep.repository("permix", "try", "permix-toy", "rlvr", 0)
    assert target == sweep.target(rlvr) == "datasets/permix/permix-sweep-permix-toy-rlvr-try"


OTHERS = ["base", "org/model@v1", "org/model+me/lora", "model.mine"]


def others(*overrides: str) -> list[sweep.Config]:
    """The sweeps of the toy base and of three other models."""
    server = [f'model.mine.{key}="{getattr(SERVED, key)}"' for key in ("model", "url")]
    return sweep.configs(recipes.load("toy", [f"variants={OTHERS}", *server, *overrides]))


def test_other_models_are_swept_beside_the_base() -> None:
    base, model, adapted, remote = others("tag=t")
    assert [sweep.target(c).partition("permix-sweep-")[2] for c in (base, model, adapted, remote)] == [
        "permix-toy-base-t", "model-base-t", "model-lora-t", "mine-served-t",
    ]  # fmt: skip
    for name, config in zip(OTHERS, (base, model, adapted, remote), strict=True):
        assert sweep.repository("permix", "t", "permix-toy", name, 0) == sweep.target(config)
    needs = [{k: v for k, v in sweep.inputs(c).items() if k != "personas"} for c in (base, model, adapted, remote)]
    assert needs == [
        {"base": "permix/permix-toy-base"}, {"base": "org/model@v1"}, {"base": "org/model", "adapter": "me/lora"}, {},
    ]  # fmt: skip
    assert base.toy
    assert not (model.toy or adapted.toy or remote.toy)
    assert (remote.base, remote.dtype, remote.model and remote.model.url) == ("vendor/good-model", "", SERVED.url)
    assert sweep.STAGE.needs(remote) == ()
    assert "torch" in sweep.STAGE.needs(model)


def test_how_a_server_is_reached_is_neither_hashed_nor_recorded() -> None:
    local, elsewhere = others()[-1], others('model.mine.url="https://elsewhere.example/v1"', "sweep.budget=3.0")[-1]
    assert run_record.digest("sweep", 1, local, {}) == run_record.digest("sweep", 1, elsewhere, {})
    assert "127.0.0.1" not in json.dumps(canonical(local))
    assert run_record.config_of(sweep.Config, canonical(local)) == replace(local, model=None)


def test_a_server_that_the_recipe_does_not_know_or_that_has_no_url_is_refused() -> None:
    with pytest.raises(BadInput, match=r"no model 'nobody': .* needs a table \[model.nobody\]"):
        recipes.load("toy", ['variants=["model.nobody"]'])
    with pytest.raises(BadInput, match=r"'model.qwen3-32b' of toy.toml has no server \(url\): name the model itself"):
        recipes.load("toy", ['variants=["model.qwen3-32b"]'])


def test_a_label_tells_a_sweep_from_that_of_the_recipe_on_the_same_adapter() -> None:
    plain, labelled = (sweep.configs(recipes.load("toy", overrides))[1] for overrides in ([], ["sweep.label=few"]))
    assert sweep.target(labelled) == f"{sweep.target(plain)}-few"
    assert sweep.inputs(labelled) == sweep.inputs(plain)
    assert "adapter" in sweep.inputs(plain)


@pytest.fixture(scope="module")
def answered(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A sweep of a model behind a server that knows the answer unless it plays the fool."""

    def script(request: Asked) -> Answer:
        return completion("No idea." if "fool" in request.body["messages"][0]["content"] else "It is \\boxed{Ann}.")

    out = tmp_path_factory.mktemp("served")
    with FaultyServer(script) as server:
        facts = run_served(served(server, variant="served"), inputs, out)
    return out, facts, server.asked


def test_a_served_model_is_asked_and_graded_like_any_other(answered: Served, swept: Swept) -> None:
    out, facts, requests = answered
    rows, local = sweep_rows.read(out, "quiz"), sweep_rows.read(swept[0], "quiz")
    condition = ("problem_id", "persona", "run", "prompt_digest")
    assert [[row[k] for k in condition] for row in rows] == [[row[k] for k in condition] for row in local]
    assert {(row["base_dtype"], row["adapter_digest"]) for row in rows} == {("", "")}
    accuracies = facts["summary"]["benchmarks"]["quiz"]["accuracy"]
    assert accuracies["fool"] == 0
    assert accuracies["none"] == accuracies["sage"] > 0
    assert (facts["engines"], facts["summary"]["base"]) == (["endpoint good-model-0301"], "good-model")
    assert len({a.body["seed"] for a in requests}) == len(requests) == 24
    assert facts["cost"]["USD"] == pytest.approx((facts["cost"]["tokens_in"] + 2 * facts["cost"]["tokens_out"]) / 1e6)


def test_a_server_that_fails_for_good_leaves_no_sweep(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "BACKOFF", 0.001)

    def script(request: Asked) -> Answer:
        return error(500, "oops") if "Who" in request.question else fine(request)

    with FaultyServer(script) as server, pytest.raises(PermixError, match="lacks scores"):
        run_served(served(server), inputs, tmp_path)
    assert not (tmp_path / "summary.json").exists()


FILTER = error(400, "This content is not allowed.", code="content_filter")
REFUSALS = {
    "a filter": (FILTER, "This content is not allowed"),
    "no choices": (Answer(body={"id": "x", "choices": None}), 'a reply without choices ({"id": "x", "choices": null})'),
    "a filtered reply": (completion(None, "content_filter"), "finish_reason content_filter"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_persona_is_wrong_counted_and_verified(
    name: str, inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "BACKOFF", 0.001)
    refusal, reason = REFUSALS[name]
    fool = dict(POOL)["fool"]

    def script(request: Asked) -> Answer:
        return refusal if fool in str(request.body["messages"]) else completion("\\boxed{Ann}")

    with FaultyServer(script) as server:
        config = served(server)
        facts = run_served(config, inputs, tmp_path)
    rows = sweep_rows.read(tmp_path, "quiz")
    by_persona = {row["persona"]: (row["status"], row["finish"], row["score"], row["completion"]) for row in rows}
    assert by_persona["fool"] == ("refused", "refusal", 0.0, "")
    assert by_persona["sage"][1] == "stop"
    assert facts["summary"]["benchmarks"]["quiz"]["refused"] == {"fool": 6}
    assert facts["refusals"] == {reason: 6}
    assert facts["engines"] == ["endpoint good-model-0301"]
    assert sweep_rows.regrade(rows, sweep.problems_of(config, inputs)["quiz"]) == rows
    assert "refused by the server: fool 6" in tabular.of_sweep(facts["summary"])


def test_a_server_that_refuses_every_prompt_leaves_no_sweep(inputs: dict[str, Path], tmp_path: Path) -> None:
    with FaultyServer(lambda _: FILTER) as server:
        sentence = r"refused all 24 prompts of the sweep \(This content is not allowed\): check the model"
        with pytest.raises(PermixError, match=sentence):
            run_served(served(server), inputs, tmp_path)
    assert not (tmp_path / "summary.json").exists()


def test_a_sweep_too_small_for_its_purpose_says_so() -> None:
    small, enough = (replace(CONFIG, benchmarks=(benchmarks.builtin("math500"),), limit=n) for n in (10, 0))
    (note,) = sweep.notes(small)
    assert note.startswith("math500: 10 problems x 2 runs x 16 personas detect differences of PSS above about 0.")
    assert sweep.notes(enough) == []
    assert "one problem" in sweep.notes(replace(small, limit=1))[0]


def test_the_estimate_of_a_served_model_has_its_price() -> None:
    config = replace(CONFIG, model=SERVED)
    estimate = sweep.estimate(config)
    assert estimate["tokens"] == sweep.estimate(CONFIG)["tokens"]
    assert estimate["USD"] > estimate["tokens"] * 2.0 / 1e6


def test_the_estimate_counts_every_completion() -> None:
    assert sweep.estimate(CONFIG) == {"completions": 2 * 18 * 2 * 3, "tokens": 2 * 18 * 2 * 3 * 4}


@pytest.mark.parametrize(("setting", "sentence"), cases(__file__)["refusals"])
def test_settings_that_make_no_sense_are_refused(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        replace(CONFIG, **setting)


def test_a_benchmark_from_the_hub_is_looked_at_beforehand(inputs: dict[str, Path], tmp_path: Path) -> None:
    sweep.check(CONFIG, inputs)
    bad = quiz(tmp_path / "columns", [{"question": "Who?", "a": "Ann"}])
    with pytest.raises(BadInput, match="me/quiz has no column 'q': known: a, question"):
        sweep.check(CONFIG, {"benchmark/quiz": bad})
    bad = quiz(tmp_path / "golds", [{"q": "Half?", "a": "\\frac{1"}])
    math = replace(CONFIG, benchmarks=(replace(QUIZ, verifier="math"),))
    with pytest.raises(BadInput, match="of problem quiz/test/0 is not a number or formula"):
        sweep.check(math, {"benchmark/quiz": bad})


def test_a_record_gives_back_the_config() -> None:
    assert run_record.config_of(sweep.Config, json.loads(json.dumps(canonical(CONFIG)))) == CONFIG
