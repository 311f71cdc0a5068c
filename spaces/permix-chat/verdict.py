"""Is an answer right? permix's own rule: answer.py and math_worker.py are those of the package."""

import json
import subprocess
import sys
from pathlib import Path

import answer

SECONDS = 20.0  # until the worker is killed; starting it takes most of that on a busy machine
LONGEST = 5000  # characters of an answer; a longer one is not read
_WORKER = Path(__file__).with_name("math_worker.py")


def verdict(completion: str, gold: str) -> str:
    """One sentence; "" where no answer is known."""
    gold = gold.strip()
    if not gold:
        return ""
    text = answer.find(completion)
    if text is None:
        return "✗ no answer: the text has no \\boxed{…} and says no “answer is …”."
    same = answer.same_number(text, gold)
    if same is not None:
        reply = "correct" if same else "wrong"
    elif text == gold:
        reply = "correct"
    else:
        pair = answer.decimal(gold) or gold, answer.decimal(text) or text
        reply = "too_costly" if len(text) > LONGEST else _compare(*pair)
    shown = text[:200]
    return {
        "correct": f"✓ correct: {shown}",
        "wrong": f"✗ wrong: {shown}, expected {gold}",
        "too_costly": f"✗ too costly to verify: {shown}",
    }.get(reply, "The verifier failed: no verdict.")


def _compare(gold: str, text: str) -> str:
    """Return math-verify's reply, from a process of its own: an answer such as 10^{10^{10}} can hang it for ever."""
    line = json.dumps([gold, text]) + "\n"
    try:
        done = subprocess.run(
            [sys.executable, str(_WORKER)], input=line, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "too_costly"
    return done.stdout.strip().rpartition("\n")[2] if "\n" in done.stdout.strip() else "dead"
