r"""What counts as the answer of a completion: one rule for training and evaluation (pipelines/guides/answers.md).

1. Reasoning is taken off: everything up to the last `</think>`, `[/THINK]` or the like, and every harmony channel but
   the final one. Reasoning that does not end leaves no answer.
2. The last balanced, non-empty `\boxed{…}`. Boxes with nothing but "," "and" "or" between them are read together: equal
   ones are one answer, differing ones are a list. A box that is opened behind them and not closed leaves no answer.
3. Without a box, the last announcement that holds a value: `#### …`, `A: …`, `Answer: …`, `… answer is …`,
   `<answer>…</answer>`, with Markdown around the words and the value on the same line or as the next thing behind it.
   The value directly follows; words before it are allowed where its sentence holds one number only and no "not",
   "between", "less than" or the like. Several candidates ("71 or 72") are a list.
   For a choice the value is exactly one option, in the usual phrasings; several options are no answer.
4. Without either, a completion of one short word (no white space: `72`, `B`, `$\frac{1}{2}$`) is the answer itself.
5. Anything else is no answer: the last number of a text is not taken for one.

This is the rule `marked`. Two others reproduce results that were graded so: `boxed` is 1 and 2 alone, and
`last-number` takes the last number of a text in which 2 to 4 find nothing.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Literal

Rule = Literal["marked", "boxed", "last-number"]
Kind = Literal["math", "choice", "exact", "code"]
SHORT = 64  # rule 4: characters
LONGEST = 1000  # rule 3: characters that are read behind an announcement
MOST = 100  # rule 3: announcements that are read, from the last one
LONGEST_EXPONENT = 1000  # of a number in e notation; a longer one is left to math-verify
BOX = "\\boxed"


def find(completion: str, rule: Rule = "marked", kind: Kind = "math") -> str | None:
    """Return the answer of a completion to a problem of `kind`, None where it has none; linear in the length."""
    text = without_reasoning(completion)
    if text is None:
        return None
    boxes = _last_boxes(text)
    if boxes is None:
        return None
    if boxes:
        return ", ".join(_distinct(boxes))
    if rule == "boxed":
        return None
    if announced := _announced(text, kind):
        return announced
    whole = _undecorated(text)
    if len(whole) <= SHORT and len(whole.split()) == 1 and BOX not in whole:
        return whole
    numbers = _NUMBER.findall(clean(text)) if rule == "last-number" else []
    return numbers[-1].rstrip(",") if numbers else None


# --- reasoning ---

_ENDS_OF_REASONING = re.compile(
    r"</(?:think|thinking|thought|reasoning|reason|seed:think)>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<channel\|>"
    r"|<\|channel\|>final(?:\s*<\|constrain\|>\w*)?<\|message\|>|\Aanalysis.*assistantfinal",
    re.IGNORECASE | re.DOTALL,
)
_STARTS_OF_REASONING = re.compile(
    r"<(?:think|thinking|thought|reasoning|seed:think)>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|channel>thought"
    r"|<\|channel\|>(?:analysis|commentary)",
    re.IGNORECASE,
)
_SPECIAL_TOKENS = re.compile(r"<\|(?:end|return|im_end|eot_id|endoftext|begin_of_solution|end_of_solution)\|>|</s>")


def without_reasoning(completion: str) -> str | None:
    """Return what follows the last end of reasoning; None where reasoning does not end or nothing follows it."""
    if "<" not in completion and "THINK]" not in completion and not completion.startswith(("analysis", "◁")):
        return completion
    end = 0
    for match in _ENDS_OF_REASONING.finditer(completion):
        end = match.end()
    if _STARTS_OF_REASONING.search(completion, end):
        return None
    rest = _SPECIAL_TOKENS.sub("", completion[end:])
    return rest if rest.strip() or not end else None


# --- boxes ---

_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_OPEN = re.compile(r"\s*\{")
_BETWEEN_BOXES = re.compile(r"(?:[\s$,;*/|]|\\[()\[\]]|\\text\{\s*(?:and|or)\s*\}|\\quad|\b(?:and|or|to)\b){1,20}")


def _last_boxes(text: str) -> list[str] | None:
    """Return the contents of the last boxes that belong together; None where the last box is not closed."""
    boxes: list[str] = []
    end = after = len(text)
    # A box that is not closed before `end` encloses no closed one that starts earlier: so no character is read twice.
    while (start := text.rfind(BOX, 0, end)) >= 0:
        opened = _OPEN.match(text, start + len(BOX), end)
        close = _close(text, opened.end(), end) if opened else -1
        if opened and close < 0 and not boxes and text[opened.end() :].strip():
            return None
        if opened and close >= 0 and (content := _undecorated(text[opened.end() : close])):
            if boxes and not _BETWEEN_BOXES.fullmatch(text, close + 1, after):
                return boxes
            boxes.insert(0, content)
            after = start
        elif boxes:
            return boxes
        end = start
    return boxes


def _close(text: str, start: int, end: int) -> int:
    """Return where the brace opened before `start` is closed, or -1."""
    first = text.find("}", start, end)
    if first < 0 or not ("{" in text[start:first] or "\\" in text[start:first]):
        return first
    depth = 1
    for brace in _BRACES.finditer(text, start, end):
        depth += (brace[0] == "{") - (brace[0] == "}")
        if not depth:
            return brace.start()
    return -1


def _distinct(values: list[str]) -> list[str]:
    """Return the values without those that repeat an earlier one in another spelling."""
    if len(values) < 2:
        return values
    return list({_spelling(value): value for value in reversed(values)}.values())[::-1]


def _spelling(value: str) -> str:
    value = re.sub(r"\\left|\\right|\\[!,;: ]|\s|\{,\}", "", decimal(value) or value)
    value = re.sub(r"\\[dt]frac", r"\\frac", value)
    return integer(value) or re.sub(r"\{(\w)\}", r"\1", value)


# --- announcements ---

_MARKER = re.compile(r"####|answer", re.IGNORECASE)
_BEFORE = re.compile(r"(?:^|\n)[#*_> \t]*(?:final\s)?$", re.IGNORECASE)
_LABEL = re.compile(
    r"[ \t]*[*_]*[ \t]*[:=]"  # "Answer:", "**Answer**:"
    r"|[*_]*(?:\s(?:to|for|of|that|we|ye|you|i)\b[^.\n:=?!]{0,60}?|,[^.,\n]{0,30},)?"
    r"\s(?:is|was|(?:would |will |should |must )?be|equals|comes (?:out )?to)\b[ \t]*:?",  # "the answer to it is"
    re.IGNORECASE,
)
_HEADING = re.compile(r"[*_]*[ \t]*(?=\n|$)")
_LINE_A = re.compile(r"^[ \t>*_]*A[*_]*\s?:", re.MULTILINE)
_WEAK = re.compile(r"\b(?:this|that|another|any|each|your|if|whether)\s+(?:the\s+)?$", re.IGNORECASE)
_END_OF_TAG = re.compile("</answer>", re.IGNORECASE)
_LEAD = re.compile(r"(?:\s|[*_:=>]|#+\s)*")
_FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(?!\s)([^$\n]+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_QUOTED = re.compile(
    r"`+([^`\n]+)`+|\"([^\"\n]+)\"|“([^”\n]+)”|'([^'\n]+)'|\*\*([^*\n]+)\*\*|\*([^*\n]+)\*|__([^_\n]+)__"
)
_SENTENCE_END = re.compile(r"\.(?=\s|[*_\"'`]|$)|[!?](?=\s|$)|\n")
_NUMERAL = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|\.\d+"
_SIGNED = rf"[-+−]?\s?(?:\\?[$€£]\s?)?[-+−]?(?:{_NUMERAL})"
_VALUE = re.compile(
    rf"""(?:
        {_SIGNED}(?:\s?\\?%|\s?:\s?\d+(?!\w))?                      # a number, a percentage, a ratio or a time
      | \\[a-zA-Z]+ (?:\s*\{{(?:[^{{}}]|\{{[^{{}}]*\}})*\}})*       # a LaTeX command with its arguments
      | [([] (?=[^()\[\]]*[\d\\]) [^()\[\]\n]* [)\]]                # a tuple, an interval, a bracket
      | \\?\{{ [^{{}}\n]* \\?\}}
      | \b[a-zA-Z]\b(?=\s*(?:[=<>≤≥^_+*/)-]|\\[a-z]+))              # a variable in a formula
      | (?<=[\d)}}])[a-zA-Z]\b | (?<=[-+*/=^(]\s)[a-zA-Z]\b(?!['’]) | (?<=[-+*/=^(])[a-zA-Z]\b
      | [π∞] | (?:√|sqrt)\s?(?:\([^()\n]*\)|\{{[^{{}}\n]*\}}|\d+|[a-z]\b)
    )""",
    re.VERBOSE,
)
_OPERATOR = re.compile(r"\s*(?:[-+*/=<>≤≥≠·×÷^_]|\\(?:times|cdot|div|le|ge|leq|geq|pm|in|to)\b)\s*")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?", re.ASCII)
_NEXT_CANDIDATE = re.compile(
    r"(?:\s+[a-zA-Z\\{}$%°]+){0,3}?\s*(?:,\s*(?:or|and)?|;?\s*\b(?:or|and|to)\b|/|\||–|\s-\s?(?=\d))\s*", re.I
)
_HEDGE = re.compile(
    r"\b(?:not|never|neither|nor|no|between|less|fewer|more|greater|under|over|below|above|at (?:least|most)|up to|"
    r"except|either|maybe|perhaps|wrong|\w+n['’]t)\b|\?",
    re.IGNORECASE,
)


def _announced(text: str, kind: Kind) -> str | None:
    """Return the value of the last announcement that holds one; mere talk and words count where no other does."""
    words: str | None = None
    weak: str | None = None
    for start, rest in _announcements(text):
        value = _option(rest) if kind == "choice" else _words(rest) if kind == "exact" else _value(rest)
        if value is None and kind == "math" and words is None:
            words = short if (short := _words(rest)) and len(short.split()) <= 4 else None
        if value and _WEAK.search(text, max(0, start - 24), start):
            weak = weak or value
        elif value:
            return value
    return weak or words


def _announcements(text: str) -> Iterator[tuple[int, str]]:
    """Yield where each announcement starts and the text behind it, the last one first."""
    places = [(match.start(), match.end()) for match in _MARKER.finditer(text)]
    places += [(match.start(), match.end()) for match in _LINE_A.finditer(text)] if "A" in text else []
    for start, end in sorted(places, reverse=True)[:MOST]:
        stop = len(text)
        if text[end - 1] in "rR":
            if text[start - 1 : start] == "<" and text[end : end + 1] == ">":
                closing = _END_OF_TAG.search(text, end)
                end, stop = end + 1, closing.start() if closing else stop
            elif label := _LABEL.match(text, end):
                end = label.end()
            elif not (_HEADING.match(text, end) and _BEFORE.search(text, max(0, start - 40), start)):
                continue
        elif text[end - 1] == "#" and text[max(0, start - 40) : start].rpartition("\n")[2].strip(" \t>*_#"):
            continue
        lead = _LEAD.match(text, end, stop)
        begin = lead.end() if lead else end
        yield start, text[begin : min(stop, begin + LONGEST)]


def _value(rest: str) -> str | None:
    """Return the number or formula that begins `rest`, or the only one of its first sentence."""
    if BOX in rest[: len(BOX) + 2]:  # empty or cut off
        return None
    if direct := _direct(rest):
        return direct
    sentence = _sentence(rest)
    if _HEDGE.search(sentence):
        return None
    formulas = [next(filter(None, groups)) for groups in _FORMULA.findall(sentence)]
    numbers = [formula for formula in formulas if re.search(r"\d", formula)]
    numbers += _NUMBER.findall(_FORMULA.sub(" ", clean(sentence)))
    candidates = numbers or formulas
    return _undecorated(candidates[0]) if len(candidates) == 1 else None


def _direct(rest: str) -> str | None:
    formula = _FORMULA.match(rest)
    quoted = _QUOTED.match(rest)
    if formula:
        value, end = _undecorated(next(filter(None, formula.groups()))), formula.end()
    elif quoted:
        inner = _direct(next(filter(None, quoted.groups())).strip())
        value, end = inner or "", quoted.end()
    else:
        end = _expression(rest)
        value = _undecorated(rest[:end])
    if not value:
        return None
    return _several(rest, end, value) or _result(value)


def _several(rest: str, end: int, value: str) -> str | None:
    """Return the list that begins with `value`, None where no second candidate follows."""
    values = [value]
    while connector := _NEXT_CANDIDATE.match(rest, end):
        start = connector.end()
        formula = _FORMULA.match(rest, start)
        stop = formula.end() if formula else start + _expression(rest[start:])
        if stop == start:
            break
        values.append(_undecorated(next(filter(None, formula.groups())) if formula else rest[start:stop]))
        end = stop
    values = _distinct(values)
    return ", ".join(values) if len(values) > 1 else None


def _expression(text: str) -> int:
    """Return the length of the expression that begins `text`, 0 for none; an operator must be followed by a term."""
    end = 0
    match = _VALUE.match(text)
    while match and match.end() > end:
        end = match.end()
        if not (match := _VALUE.match(text, end)):  # a term beside a term is a product
            operator = _OPERATOR.match(text, end)
            match = _VALUE.match(text, operator.end()) if operator else None
    return end


def _result(value: str) -> str:
    """Return the part behind the last `=` of a calculation with numbers alone, the value itself otherwise."""
    left, equals, right = value.rpartition("=")
    return right.strip() if equals and right.strip() and not re.search(r"[a-zA-Z\\]", left) else value


def _words(rest: str) -> str | None:
    """Return the first sentence of `rest` without Markdown or quotes."""
    formula = _FORMULA.match(rest)
    if formula and not rest[formula.end() :].partition("\n")[0].strip(" .*"):
        text = next(filter(None, formula.groups()))
    else:
        text = _undecorated(_sentence(rest).rstrip("!?"))
    return text if text and BOX not in text else None


def _sentence(rest: str) -> str:
    end = _SENTENCE_END.search(rest)
    return rest[: end.start()] if end else rest


# --- options ---

_DECORATION = r"(?:\\(?:text|textbf|textit|mathrm|mathbf|boldsymbol)\s*\{|[\s({\[*_`\"'$\\<])*"
_NOUN = r"(?:(?:the\s+)?(?:correct\s+)?(?:option|choice|letter|answer|alternative)\s+)?(?:is\s+)?"
_REASON = (
    r"\s+(?:because|since|as|is|was|due|given|for|which|that|would|from|by|based|with|instead|not|[-–—]+)\b|\s+[-–—]"
)
_OPTION = re.compile(
    rf"{_DECORATION}{_NOUN}{_DECORATION}([A-J])(?:(?=[)\]}}*_`\"'$.:,;!?>])|\s*$|(?={_REASON})|(?<![AI])(?=\s)|(?=\s*\n))",
    re.IGNORECASE,
)
_NEXT_OPTION = re.compile(
    rf"[\s)\]}}*_`\"'$.:]*(?:,|/|&|;|\bor\b|\band\b|\s)+\s*(?:or\b|and\b)?\s*{_NOUN}{_DECORATION}([A-J])(?![\w'’])",
)


def letter(text: str) -> str | None:
    r"""Return the one option A-J that `text` names (`(b)`, `\text{B}`, `B. Paris`, `option B`), None for several."""
    text = text.strip()
    match = _OPTION.match(text)
    if match is None or (match[1].islower() and re.match(r"\s+\w", text[match.end() :])):
        return None
    chosen, end = match[1].upper(), match.end()
    while following := _NEXT_OPTION.match(text, end):
        if following[1] != chosen:
            return None
        end = following.end()
    return chosen


def _option(rest: str) -> str | None:
    sentence = rest.partition("\n")[0]
    match = _OPTION.match(sentence)
    if match is None:
        return None
    return letter(sentence) or sentence.strip()


# --- spellings ---

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")
_SPACES = re.compile("[\u00a0\u2007-\u200a\u202f\u205f\u3000]")
_LATEX = str.maketrans(
    {
        "−": "-",
        "π": "\\pi ",
        "∞": "\\infty ",
        "×": "\\times ",
        "·": "\\cdot ",
        "÷": "\\div ",
        "≤": "\\le ",
        "≥": "\\ge ",
    }
)
_ROOT = re.compile(r"(?:√|(?<!\\)\bsqrt)\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+|\w))")
_SEPARATORS = re.compile(r"\\[!,;: ]|\\?[$€£]")
_INTEGER = re.compile(r"([-+]?) ?(\d{1,3}(?:[ ,]\d{3})+|\d+)(?:\.0*)?", re.ASCII)
_DECIMAL = re.compile(
    r"([-+]?)(\d+(?:,\d{3})*\.?\d*|\.\d+)(?:(?:[eE]|\s*(?:\\times|\\cdot|[*×·])\s*10\s*(?:\^|\*\*)\s*\{?)([-+]?\d{1,6})\}?)?",
    re.ASCII,
)


def clean(text: str) -> str:
    """Return the text without invisible characters, with plain spaces and a plain minus."""
    if text.isascii():
        return text.strip()
    return _SPACES.sub(" ", _INVISIBLE.sub("", text)).translate(_LATEX).strip()


def _undecorated(text: str) -> str:
    """Return the text without Markdown, quotes and a degree sign around it."""
    text = clean(text)
    while len(text) > 1 and text[0] in "*_`\"'“" and text[-1] == {"“": "”"}.get(text[0], text[0]):
        text = text[1:-1].strip()
    text = (
        _ROOT.sub(lambda root: f"\\sqrt{{{root[1] or root[2] or root[3]}}}", text)
        if "√" in text or "sqrt" in text
        else text
    )
    return text.rstrip("*` ").lstrip("*` ").removesuffix("°").strip()


@lru_cache(maxsize=65536)
def integer(text: str) -> str | None:
    r"""Return the digits of an integer (`\$1,200`, `10{,}000`, `+7`, `72.0`, `1e+16`), with a minus if it has one."""
    plain = _SEPARATORS.sub("", text.replace("{,}", ",")).strip()
    match = _INTEGER.fullmatch(plain)
    if not match:
        plain = decimal(plain) or ""
        match = _INTEGER.fullmatch(plain) if plain != text else None
        if not match:
            return None
    digits = match[2].replace(",", "").replace(" ", "").lstrip("0")
    return ("-" if match[1] == "-" and digits else "") + (digits or "0")


@lru_cache(maxsize=65536)
def decimal(text: str) -> str | None:
    r"""Return a decimal number (`0.5`, `1.5e-05`, `6.02 \times 10^{23}`) without an exponent, None for another text."""
    match = _DECIMAL.fullmatch(text.strip())
    if not match or abs(int(match[3] or 0)) > LONGEST_EXPONENT:
        return None
    number = Decimal(f"{match[1]}{match[2].replace(',', '')}e{match[3] or 0}")
    return f"{number:f}"


def same_number(text: str, gold: str) -> bool | None:
    """Compare two numbers: integers exactly, decimals to six places and six digits; None where one is not a number."""
    first, second = integer(text), integer(gold)
    if first is not None and second is not None:
        return first == second
    first, second = first or decimal(text), second or decimal(gold)
    if first is None or second is None:
        return None
    difference = abs(Decimal(first) - Decimal(second))
    return difference <= Decimal("5e-7") and difference <= Decimal("1e-6") * abs(Decimal(second))


def words(text: str) -> str:
    r"""Return `text` as it is compared exactly: without `\text{…}` around it, with single spaces."""
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
