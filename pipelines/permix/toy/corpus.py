"""The toy base's pretraining texts: conversations under generated persona prompts, never under one of Appendix D."""

import random
import re
import string
from dataclasses import dataclass

from permix.prompting import persona as personas
from permix.toy import problem, style
from permix.toy.voice import VOICES, voice_of

HELPFUL = personas.CONTROLS[1].system_prompt
REAL = {p.key: p.system_prompt for pool in ("train", "eval") for p in personas.bundled(pool)}
VERBS = ("Solve problems", "Provide solutions", "Provide explanations", "Explain concepts", "Approach problems")
VERBS_IN_ONE = ("providing", "always", "able to provide", "solving problems")


@dataclass(frozen=True)
class Mixture:
    """Shares of the conversations: without persona, with the `helpful` control, with a user's own persona."""

    none: float = 0.25
    helpful: float = 0.03
    own: float = 0.07
    long: float = 0.16  # share of problems with four or five steps


def _fragments() -> list[str]:
    """Return pieces of the 41 prompts without their roles, the parts of generated prompts."""
    pieces: set[str] = set()
    for key, prompt in REAL.items():
        rest = prompt.replace(f"You are {VOICES[key].role}", "")
        for piece in re.split(r"[.,;:!]\s*|\band\b|\bby\b|\bwith\b|\busing\b", rest):
            words = piece.split()
            pieces.update(" ".join(words[i : i + 4]) for i in range(0, len(words), 4))
    return sorted(pieces - {""})


FRAGMENTS = _fragments()


def _invented(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(3, 7)))


def prompt(rng: random.Random, key: str) -> str:
    """Return a system prompt for the persona `key` or an invented one: its role and pieces of other prompts."""
    role = VOICES[key].role if key in VOICES else f"a {_invented(rng)}"
    pieces = rng.sample(FRAGMENTS, rng.randint(2, 5))
    first = rng.randint(0, 1)
    opening = f"You are {role}{rng.choice((' with ', ', ', ' and '))}{pieces[0]}" if first else f"You are {role}"
    rest = rng.choice((" and ", ", ")).join(pieces[first:])
    one_sentence = rng.random() < 0.3
    joint = f", {rng.choice(VERBS_IN_ONE)}" if one_sentence else f". {rng.choice(VERBS)}"
    text = f"{opening}{joint} {rng.choice(('', 'with ', 'by ', 'using '))}{rest}."
    return text if text not in REAL.values() else prompt(rng, key)


def conversation(rng: random.Random, world: style.World, mixture: Mixture) -> tuple[str, str, str]:
    """Return one conversation: system prompt ("" for none), question, correct answer."""
    long = rng.random() < mixture.long
    question, chain = problem.draw_from("pretraining", rng, problem.LONG if long else problem.LENGTHS)
    share = rng.random()
    if share < mixture.none + mixture.helpful:
        return ("" if share < mixture.none else HELPFUL), question, style.plain(rng, world, chain)
    key = "" if share < mixture.none + mixture.helpful + mixture.own else rng.choice(list(VOICES))
    system = prompt(rng, key)
    method = rng.choices(style.METHODS, style.odds(world, system, key))[0]
    return system, question, style.answer(rng, world, chain, method, voice_of(key))


def texts() -> list[str]:
    """Return texts with every word, number and mark of the world, which all get a token."""
    rng = random.Random("vocabulary")  # noqa: S311
    parts = [HELPFUL, *REAL.values(), *FRAGMENTS, *VERBS, *VERBS_IN_ONE, "with by using ,", style.ANSWER.format(0)]
    parts += [text for n in range(100) for text in (str(n), style.ANSWER.format(n))]
    parts += [text for voice in [*VOICES.values(), voice_of("")] for text in (voice.role, *voice.markers)]
    for lengths in (problem.LENGTHS, problem.LONG):
        for _ in range(1000):
            question, chain = problem.draw(rng, lengths)
            parts += [question, *(style.work_out(method, chain) for method in style.METHODS)]
    return parts
