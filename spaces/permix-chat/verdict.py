"""Grade an answer by permix's own rule: answer.py and math_worker.py are the package's files."""

import json
import subprocess
import sys
from pathlib import Path

import answer

SECONDS = 20.0  # until the worker is killed; most of it for starting the worker on a busy machine
LONGEST = 5000  # characters of an answer; a longer one is not read
_WORKER = Path(__file__).with_name("math_worker.py")


def verdict(completion: str, gold: str) -> str:
    """One sentence; "" if the answer of the question is unknown."""
    gold = gold.strip()
    if not gold:
        return ""
    text = answer.find(completion)
    if text is None:
        return "✗ no answer: the text contains neither \\boxed{…} nor “answer is …”."
    same = answer.same_number(text, gold)
    if same is not None:
        status = "correct" if same else "wrong"
    elif text == gold:
        status = "correct"
    else:
        pair = answer.decimal(gold) or gold, answer.decimal(text) or text
        status = "too_costly" if len(text) > LONGEST else _compared(*pair)
    excerpt = text[:200]
    return {
        "correct": f"✓ correct: {excerpt}",
        "wrong": f"✗ wrong: {excerpt}, expected {gold}",
        "too_costly": f"✗ too costly to verify: {excerpt}",
    }.get(status, "The verifier failed: no verdict.")


def _compared(gold: str, text: str) -> str:
    """Return math-verify's status from a process of its own: an answer such as 10^{10^{10}} can hang it for ever."""
    line = json.dumps([gold, text]) + "\n"
    try:
        worker = subprocess.run(
            [sys.executable, str(_WORKER)], input=line, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "too_costly"
    output = worker.stdout.strip()
    return output.rpartition("\n")[2] if "\n" in output else "dead"
