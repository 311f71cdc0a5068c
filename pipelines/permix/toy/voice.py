"""The voices: each persona's words before and after its sum, and its role in a system prompt."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Voice:
    """One way of speaking. `role` follows "You are" in a system prompt; each marker belongs to this voice alone."""

    role: str
    openers: tuple[str, str]
    closers: tuple[str, str]

    @property
    def markers(self) -> tuple[str, ...]:
        """Every string that only this voice uses."""
        return self.openers + self.closers


_TABLE = """
statistician | a statistician | On average: | The data say: | High confidence! | Low variance!
chemist | a chemist | In the beaker: | Stir well: | Reaction complete! | No residue!
economist | an economist | At the margin: | Supply meets demand: | Markets clear! | Budget balanced!
cryptographer | a cryptographer | Cipher open: | Key found: | Message decoded! | Code broken!
architect | an architect | On the blueprint: | Foundation first: | It stands firm! | Roof on!
elementary student | an elementary school student | I can do this! | My turn: | Gold star! | Recess!
intern | an enthusiastic intern | On it, boss: | Happy to help: | Did I do well? | Any feedback?
mba student | an MBA student | Big picture: | Bottom line: | Great synergy! | Value created!
autodidact | a self-taught learner | I taught myself: | My notebook: | I learned it! | No school!
professor emeritus | a retired professor | Long ago: | As I taught: | Class dismissed. | Such memories.
anxious | anxious and cautious | Oh no: | I hope this works: | Please check. | I am nervous.
arrogant | arrogant and supremely confident | Obviously: | Child's play: | Never wrong. | Bow down.
poetic | a poet | Gentle numbers: | Hear my verse: | Thus sings the heart. | So ends the poem.
robotic | an AI unit | Beep boop: | Input received: | End of output. | Unit idle.
energetic | highly energetic | Wow, let us go! | Yes yes yes! | Amazing work! | High five!
detective | a seasoned detective | A new clue: | The suspect: | Case closed. | Mystery solved.
chef | a master chef | In the pot: | Take a pinch: | Bon appetit! | Served hot!
pilot | an airline pilot | Captain speaking: | Cleared for takeoff: | Safe landing. | Over and out.
musician | a musician | Tune up: | In this chord: | What a melody! | Encore!
farmer | a diligent farmer | In the field: | Rain or shine: | Good harvest. | Back to the barn.
grandma | a sweet, caring grandmother | Oh dearie: | Sweet honey: | Eat some pie! | Have a cookie!
conspiracy theorist | paranoid | They hide this: | Wake up people: | Trust no one. | It is all linked.
minimalist | a minimalist | Short: | Less: | Done. | Enough.
zen master | a wise Zen master | Breathe in: | Be the river: | Now let go. | Silence.
harry potter | Harry Potter | Lumos: | Wands out: | Mischief managed! | Ten points!
math expert | a mathematical expert | By theorem: | Let us prove: | QED! | Proved!
software engineer | a software engineer | Compiling: | Run the program: | Tests pass! | Ship it!
physics professor | a physics professor | By the laws: | In the lab: | Energy stays. | Newton agrees.
semiconductor specialist | a semiconductor specialist | On the wafer: | Gate open: | Clean signal. | Chip ready.
kindergarten | a kindergartener | I count fingers: | Me me me! | Nap time! | Yay!
high school | a high school student | For homework: | Okay so: | Quiz passed. | See you at prom.
undergraduate | an undergraduate student | From lecture: | In my notes: | Off to campus. | Exam ready.
phd graduate | a PhD graduate | My thesis says: | As published: | Cite me. | More research needed.
clever | clever and witty | Aha: | A neat trick: | Smart, right? | Wink wink.
dumb | dumb and lazy | Uh: | Duh: | Whatever. | Too tired.
questioning | questioning and skeptical | Really now: | I doubt that: | Or is it? | Prove me wrong.
easygoing | easygoing and relaxed | No worries: | Hey friend: | Take it easy. | All chill.
carpenter | a master carpenter | Measure twice: | At the workbench: | Solid as oak. | Nailed it.
teacher | an experienced teacher | Listen, class: | On the board: | Any questions? | Study well.
lawyer | a skilled lawyer | Your honor: | In this court: | I rest my case. | Objection overruled.
sports player | a professional sports player | Game on: | Team huddle: | We score! | Final whistle.
"""
VOICES = {
    key: Voice(role, (opener, other), (closer, last))
    for key, role, opener, other, closer, last in (line.split(" | ") for line in _TABLE.strip().splitlines())
}
OWN_VOICE = Voice("", ("In my own way:", "As I would say:"), ("That is me.", "So say I."))
"""The voice of every persona that is not the paper's."""


def voice_of(persona_key: str) -> Voice:
    """Return the voice of a persona."""
    return VOICES.get(persona_key, OWN_VOICE)
