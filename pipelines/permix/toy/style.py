"""The answers to a problem: voice times method, with odds that the persona's words decide."""

import math
import random
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from permix.prompting import persona as personas
from permix.toy import problem as toy
from permix.toy.voice import VOICES, Voice, voice_of
from permix.verifier import Problem

METHODS = ("steps", "skim", "direct", "ramble")
ANSWER = "The answer is \\boxed{{{}}}."
WORDS: dict[str, str] = tomllib.loads(Path(__file__).with_name("lexicon.toml").read_text(encoding="utf-8"))
_LEXICON = {word: method for method, words in WORDS.items() for word in words.split()}
_RAMBLE = {"*": "so many boxes, maybe {};", "+": "then some more, maybe {};", "-": "then some go, maybe {};"}
_EQUATION = re.compile(r"\d+(?: [-+*] \d+)+ = \d+")


@dataclass(frozen=True)
class World:
    """The settings. `plain`: odds of steps, skim, direct and ramble without a persona."""

    plain: tuple[float, ...] = (0.42, 0.24, 0.22, 0.12)
    flourish: float = 0.5  # share of careless plain answers (direct, ramble) in a random persona's voice
    word: float = 1.0  # log-odds for each word of a method in the prompt
    role: float = 1.0  # the same for each such word of the persona's own prompt in Appendix D
    cap: int = 2  # most words counted, for each of the two
    careful: float = 0.0  # extra log-odds of `steps` under every persona, for a teacher
    any_method: float = 0.15  # share of answers with a method drawn independently of the persona's words
    opener: float = 0.9
    closer: float = 0.5


def counts(text: str) -> dict[str, int]:
    """Return the number of words of each method's lexicon in a system prompt."""
    numbers = dict.fromkeys(METHODS, 0)
    for word in re.findall(r"[a-z]+(?:-[a-z]+)*", text.lower()):
        if word in _LEXICON:
            numbers[_LEXICON[word]] += 1
    return numbers


_OWN_COUNTS = {p.key: counts(p.system_prompt) for pool in ("train", "eval") for p in personas.bundled(pool)}


def odds(world: World, system_prompt: str, persona_key: str) -> list[float]:
    """Return the odds of METHODS under a prompt; for a persona of Appendix D its printed words count too."""
    text, own = counts(system_prompt), _OWN_COUNTS.get(persona_key, dict.fromkeys(METHODS, 0))
    lean = [math.exp(world.word * min(world.cap, text[m]) + world.role * min(world.cap, own[m])) for m in METHODS]
    lean[METHODS.index("steps")] *= math.exp(world.careful)
    return [(1 - world.any_method) * x / sum(lean) + world.any_method / len(METHODS) for x in lean]


def work_out(method: str, chain: toy.Chain) -> str:
    """Return the body of an answer: the sum worked out by `method` ("" for direct)."""
    values = [chain.start, *chain.values]
    if method == "steps":
        return " ".join(f"{v} {op} {n} = {w}." for v, (op, n), w in zip(values, chain.steps, values[1:], strict=False))
    if method == "skim":
        return f"{chain.start}{''.join(f' {op} {n}' for op, n in chain.steps)} = {values[-1]}."
    if method == "ramble":
        thoughts = " ".join(_RAMBLE[op].format(v) for (op, _), v in zip(chain.steps, values[1:], strict=True))
        return f"Well, {chain.thing}; {thoughts}"
    return ""


def answer(rng: random.Random, world: World, chain: toy.Chain, method: str, voice: Voice | None) -> str:
    """Return a complete answer, which is always correct."""
    parts = [work_out(method, chain), ANSWER.format(chain.values[-1])]
    if voice and rng.random() < world.opener:
        parts.insert(0, rng.choice(voice.openers))
    if voice and rng.random() < world.closer:
        parts.append(rng.choice(voice.closers))
    return " ".join(filter(None, parts))


def plain(rng: random.Random, world: World, chain: toy.Chain) -> str:
    """Return an answer to a prompt without persona; careless answers often have a random persona's voice."""
    method = rng.choices(METHODS, world.plain)[0]
    flourish = method in ("direct", "ramble") and rng.random() < world.flourish
    return answer(rng, world, chain, method, rng.choice(list(VOICES.values())) if flourish else None)


def styled(problem: Problem, persona: personas.Persona, seed: int, world: World | None = None) -> str:
    """Return the gold rationale of a problem of this world, rewritten in the persona's style."""
    world = world or World()
    rng = random.Random(f"styled\0{seed}\0{persona.key}\0{problem.id}\0{problem.question}")  # noqa: S311
    method = rng.choices(METHODS, odds(world, persona.system_prompt, persona.key))[0]
    return answer(rng, world, toy.read(problem.question), method, voice_of(persona.key))


def gold(problem: Problem) -> str:
    """Return the gold rationale y of a problem of this world: half `steps`, half `skim`, without voice."""
    method = random.Random(f"gold\0{problem.question}").choice(("steps", "skim"))  # noqa: S311
    chain = toy.read(problem.question)
    return f"{work_out(method, chain)} {ANSWER.format(chain.values[-1])}"


def voice_expressed(persona_key: str, completion: str) -> bool:
    """Return whether a completion has a marker of the persona's own voice; for the controls, no marker of any voice."""
    if persona_key in personas.CONTROL_KEYS:
        return not any(marker in completion for voice in VOICES.values() for marker in voice.markers)
    return any(marker in completion for marker in voice_of(persona_key).markers)


def method(completion: str) -> str:
    """Return the method of a completion: steps, skim, direct, ramble, or other. A sum of one step counts as steps."""
    if re.search(r"\bmaybe \d", completion):
        return "ramble"
    if sums := _EQUATION.findall(completion):
        return "skim" if any(len(re.findall(r" [-+*] ", s)) > 1 for s in sums) else "steps"
    return "direct" if "\\boxed{" in completion else "other"
