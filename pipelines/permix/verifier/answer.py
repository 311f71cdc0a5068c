r"""Find the answer of a completion: one rule for training and evaluation.

1. The last balanced, non-empty `\boxed{…}`. Boxes with nothing but "," "and" "or" between them are one answer.
2. Without a box, the rest of the last line that says `#### …`, `A: …`, `Answer: …` or `… answer is …`.
3. Without either, a completion of one short word (no white space: `72`, `B`, `$\frac{1}{2}$`) is the answer itself.
4. Anything else is not an answer; in particular not the last number of a text.

This is the rule `marked`. Two others allow comparison with results of other graders: `boxed` is 1 alone, `last-number`
adds the last number of a text in which 1 to 3 find nothing.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Rule = Literal["marked", "boxed", "last-number"]
SHORT = 64  # rule 3: characters
BOX = "\\boxed"
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_OPEN = re.compile(r"\s*\{")
_BETWEEN_BOXES = re.compile(r"(?:[\s$,;]|\\[()\[\]]|\\text\{\s*(?:and|or)\s*\}|\\quad|\b(?:and|or)\b){1,20}")
_ANNOUNCED = re.compile(r"(?:^####|^A:|\banswer\s?:|\banswer is\b:?)([^\n]*)", re.IGNORECASE | re.MULTILINE)
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")
_SEPARATORS = re.compile(r"\\[!,;: ]|\\?[$€£]")
_INTEGER = re.compile(r"([-+]?) ?(\d{1,3}(?:[ ,]\d{3})+|\d+)(?:\.0*)?", re.ASCII)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?", re.ASCII)
_LETTER = re.compile(
    r"(?:\\(?:text|mathrm|textbf|mathbf)\s*\{)?[\s({\[*]*([A-J])(?:[\s)}\]*.:,]*|[).:,].*)", re.DOTALL | re.I
)


@dataclass(frozen=True)
class Answer:
    """An answer as written in the completion; `exact` when `text` is the answer alone."""

    text: str
    exact: bool


def find(completion: str, rule: Rule = "marked") -> Answer | None:
    """Return the answer of a completion by one of the rules above, or None, in time linear in the length."""
    boxes = _last_boxes(completion)
    if boxes:
        return Answer(_clean(", ".join(boxes)), True)
    if rule == "boxed":
        return None
    lines = [line for line in _ANNOUNCED.findall(completion) if BOX not in line]  # such a box is empty or cut off
    announced = [text for line in lines if (text := _clean(_bare(line)))]
    if announced:
        return Answer(announced[-1], False)
    whole = _clean(completion)
    if len(whole) <= SHORT and len(whole.split()) == 1 and BOX not in whole:
        return Answer(whole, True)
    numbers = _NUMBER.findall(whole) if rule == "last-number" else []
    return Answer(numbers[-1].rstrip(","), True) if numbers else None


@lru_cache(maxsize=65536)
def integer(text: str) -> str | None:
    r"""Return the digits, with an optional minus, of a plain integer (`\$1,200`, `10{,}000`, `+7`, `72.0`), or None."""
    plain = _SEPARATORS.sub("", text.replace("{,}", ",")).strip()
    match = _INTEGER.fullmatch(plain)
    if not match:
        return None
    digits = match[2].replace(",", "").replace(" ", "").lstrip("0")
    return ("-" if match[1] == "-" and digits else "") + (digits or "0")


def letter(text: str) -> str | None:
    r"""Return the choice A-J that `text` names (`B`, `(b)`, `\text{B}`, `B. Paris`); None for a word such as `Bird`."""
    match = _LETTER.fullmatch(text.strip())
    return match[1].upper() if match else None


def words(text: str) -> str:
    r"""Return `text` for exact comparison: without `\text{…}` around it, with single spaces."""
    wrapped = re.fullmatch(r"\\(?:text|mathrm|textbf|mathbf)\s*\{([^{}]*)\}", text)
    return " ".join((wrapped[1] if wrapped else text).split())


def balanced(text: str) -> bool:
    """Return whether every brace is closed."""
    depth = 0
    for brace in _BRACES.findall(text):
        depth += (brace == "{") - (brace == "}")
        if depth < 0:
            return False
    return depth == 0


def _last_boxes(text: str) -> list[str]:
    boxes: list[str] = []
    end = after = len(text)
    # A box that is not closed before `end` encloses no closed one that starts earlier: so no character is read twice.
    while (start := text.rfind(BOX, 0, end)) >= 0:
        opened = _OPEN.match(text, start + len(BOX), end)
        close = _close(text, opened.end(), end) if opened else -1
        if opened and close >= 0 and (content := text[opened.end() : close].strip()):
            if boxes and not _BETWEEN_BOXES.fullmatch(text, close + 1, after):
                return boxes
            boxes.insert(0, content)
            after = start
        elif boxes:
            return boxes
        end = start
    return boxes


def _close(text: str, start: int, end: int) -> int:
    """Return the position of the brace that closes the one before `start`, or -1."""
    first = text.find("}", start, end)
    if first < 0 or not ("{" in text[start:first] or "\\" in text[start:first]):
        return first
    depth = 1
    for brace in _BRACES.finditer(text, start, end):
        depth += (brace[0] == "{") - (brace[0] == "}")
        if not depth:
            return brace.start()
    return -1


def _bare(line: str) -> str:
    """Return an announced answer without Markdown, up to the end of its formula or sentence."""
    line = line.strip().lstrip("*: ").rstrip("* ")
    formula = re.match(r"\$\$?(.+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", line)
    if formula and not line[formula.end() :].strip(" .*"):
        return formula[1] or formula[2] or formula[3]
    return re.split(r"\.(?:\s|\*|$)", line, maxsplit=1)[0].rstrip("* ")


def _clean(text: str) -> str:
    return _INVISIBLE.sub("", text).replace("\u00a0", " ").replace("\u202f", " ").replace("\u2212", "-").strip()
