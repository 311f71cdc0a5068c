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
    found = answer.find(completion)
    if found is None:
        return "✗ no answer: the text has no \\boxed{…} and says no “answer is …”."
    said, wanted = answer.integer(found.text), answer.integer(gold)
    if said is not None and wanted is not None:
        same = "correct" if said == wanted else "wrong"
    elif found.text == gold:
        same = "correct"
    else:
        same = "too_costly" if len(found.text) > LONGEST else _ask(gold, found.text, found.exact)
    shown = found.text[:200]
    return {
        "correct": f"✓ correct: {shown}",
        "wrong": f"✗ wrong: {shown}, expected {gold}",
        "too_costly": f"✗ too costly to verify: {shown}",
    }.get(same, "The verifier failed: no verdict.")


def _ask(gold: str, said: str, exact: bool) -> str:
    """What math-verify says, in a process of its own: an answer such as 10^{10^{10}} can hang it for ever."""
    line = json.dumps([gold, said, exact]) + "\n"
    try:
        done = subprocess.run(
            [sys.executable, str(_WORKER)], input=line, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "too_costly"
    return done.stdout.strip().rpartition("\n")[2] if "\n" in done.stdout.strip() else "dead"
