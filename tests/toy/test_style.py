"""Styles: correct answers in the voice and by the method that a persona makes likely."""

import itertools
import random
from collections import Counter

import pytest

from permix.prompting import persona as personas
from permix.prompting.persona import Persona
from permix.toy import problem, style, voice
from tests.support.cases import cases

POOL = [*personas.bundled("train"), *personas.bundled("eval")]
TEST = list(itertools.islice(problem.problems("test"), 60))
OWN = Persona("pirate", "Own", "You are a pirate. Answer in a few words.")


@pytest.fixture(scope="module")
def answers() -> list[tuple[problem.Problem, Persona, str]]:
    return [(p, persona, style.styled(p, persona, seed=0)) for p in TEST for persona in [*POOL, OWN]]


def test_every_persona_of_the_paper_has_a_voice_with_its_own_role() -> None:
    assert {p.key for p in POOL} == set(voice.VOICES)
    for p in POOL:
        assert p.system_prompt.startswith(f"You are {voice.VOICES[p.key].role}")


def test_no_marker_occurs_in_another_voice_or_in_the_sum() -> None:
    markers = [(key, m) for key, v in [*voice.VOICES.items(), ("own", voice.OWN_VOICE)] for m in v.markers]
    plain = " ".join(
        f"{style.work_out(m, problem.read(p.question))} {style.ANSWER.format(p.gold)}"
        for p in TEST
        for m in style.METHODS
    )
    for key, marker in markers:
        assert marker not in plain
        assert [k for k, other in markers if marker in other] == [key]


def test_every_answer_ends_in_the_gold(answers: list[tuple[problem.Problem, Persona, str]]) -> None:
    assert all(f"\\boxed{{{p.gold}}}" in text for p, _, text in answers)
    assert all(f"\\boxed{{{p.gold}}}" in style.gold(p) for p in TEST)


def test_answers_carry_the_personas_own_voice_and_no_other(answers: list[tuple[problem.Problem, Persona, str]]) -> None:
    own = [style.voice_expressed(persona.key, text) for _, persona, text in answers]
    others = [style.voice_expressed(w.key, text) for _, p, text in answers[:420] for w in POOL if w.key != p.key]
    assert 0.92 < sum(own) / len(own) < 0.98  # 1 - 0.1 x 0.5
    assert not any(others)


def test_the_controls_are_expressed_by_having_no_voice() -> None:
    assert style.voice_expressed("none", style.gold(TEST[0]))
    assert not style.voice_expressed("helpful", "Oh dearie: The answer is \\boxed{3}.")


@pytest.mark.parametrize(("text", "method"), cases(__file__)["methods"])
def test_the_method_is_read_from_the_text(text: str, method: str) -> None:
    assert style.method(text) == method


def test_the_method_of_every_written_answer_is_recognised() -> None:
    rng, chains = random.Random(0), [problem.read(p.question) for p in TEST]
    chain = next(chain for chain in chains if len(chain.steps) == 3)
    for method in style.METHODS:
        assert style.method(style.answer(rng, style.World(), chain, method, voice.VOICES["chef"])) == method


def test_a_personas_words_decide_its_method() -> None:
    by_key = {p.key: p for p in POOL}

    def odds(key: str) -> dict[str, float]:
        return dict(zip(style.METHODS, style.odds(style.World(), by_key[key].system_prompt, key), strict=True))

    assert max(odds("software engineer"), key=odds("software engineer").__getitem__) == "steps"
    assert max(odds("dumb"), key=odds("dumb").__getitem__) == "direct"
    assert max(odds("easygoing"), key=odds("easygoing").__getitem__) == "ramble"


def test_gold_rationales_are_half_steps_half_skim_without_voice() -> None:
    longer = [p for p in TEST if len(problem.read(p.question).steps) > 1]
    used = Counter(style.method(style.gold(p)) for p in longer)
    assert set(used) == {"steps", "skim"}
    assert min(used.values()) > len(longer) / 4
    assert not any(style.voice_expressed(persona.key, style.gold(p)) for p in TEST for persona in [*POOL, OWN])


def test_styled_depends_on_seed_and_persona_alone() -> None:
    texts = [style.styled(p, POOL[0], seed=0) for p in TEST]
    assert texts == [style.styled(p, POOL[0], seed=0) for p in TEST]
    assert texts != [style.styled(p, POOL[0], seed=1) for p in TEST]


def test_plain_answers_follow_the_worlds_default_support() -> None:
    rng, chain = random.Random(0), problem.read(TEST[0].question)
    only_direct = style.World(plain=(0, 0, 1, 0), flourish=0)
    assert {style.plain(rng, only_direct, chain) for _ in range(20)} == {style.ANSWER.format(TEST[0].gold)}


def test_a_careful_world_goes_step_by_step_under_personas_that_would_not() -> None:
    for persona in POOL:
        usual, careful = (style.odds(style.World(careful=c), persona.system_prompt, persona.key)[0] for c in (0.0, 2.0))
        assert careful > usual, persona.key
    dumb = next(p for p in POOL if p.key == "dumb")
    assert style.odds(style.World(careful=9.0), dumb.system_prompt, "dumb")[0] > 0.8
