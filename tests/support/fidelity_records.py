"""Facts of the stages that ask judges, with made-up scores: for tests of cards."""

import random
from typing import Any

from permix.judging import calibration, checks
from permix.prompting import persona, prompts
from permix.stages import personagym, preference, questions

TABLES = {"questions": {"per_task": 1}, "personagym": {"budget": 5.0}, "preference": {"only_personas": ("lawyer",)}}
"""A recipe's, beside which the stages have something to do."""
JUDGES = {"gpt-5-mini": "gpt-5-mini-2025-08-07", "deepseek-v3.2": "deepseek-chat"}
FILES = {
    "questions": ["data/test-00000-of-00001.parquet"],
    "personagym": [f"data/{part}/test-00000-of-00001.parquet" for part in personagym.PARTS] + ["summary.json"],
    "preference": ["data/test-00000-of-00001.parquet", "summary.json"],
}


def facts() -> dict[str, dict[str, Any]]:
    """By stage."""
    trouble = "The budget of 5 USD is reached: 4.9 USD are spent | <b>and</b> the next request may cost 0.2."
    rng = random.Random(0)
    scored = [
        {"question_id": f"{member.key}|{task}|0", "persona": member.key, "task": task, "question_writer": "gpt-5-mini"}
        | {"answer": "Well! " * rng.randint(1, 9)}
        | _judgement(name, float(rng.randint(1, 5)) if rng.random() > 0.1 else None)
        for name in JUDGES
        for member in persona.bundled("eval")
        for task in questions.TASKS
    ]
    calibrated = [row | _judgement(name, float(rng.randint(1, 5))) for name in JUDGES for row in calibration.rows()]
    probed = [row | _judgement(row["judge"], 3.0) | {"check": check} for row in scored[::9] for check in checks.CHECKS]
    third = [row | _judgement("third", 3.0) for row in scored[:4]]
    tables = {"scores": scored + third, "calibration": calibrated, "checks": probed}
    gym = {"variant": "rlvr", "base": "o/b", "seed": 0, "text_writers": ["gpt-5-mini"], "tiebreaker": "third"}
    judged = [
        {"problem_id": f"p{n}", "persona": member, "order": order, "first": "one", "second": "another"}
        | _judgement("deepseek-v3.2", float(rng.randint(-1, 1)))
        for n in range(6)
        for member in ("lawyer", "a | b")
        for order in preference.ORDERS
    ]
    return {
        "questions": {
            "rows": 79, "personas": {member.key: 5 for member in persona.bundled("eval")},
            "tasks": dict.fromkeys(questions.TASKS, 16), "without_questions": {"lawyer|toxicity_control": "no_json"},
            "without_examples": {"too_few": 2}, "writers": ["gpt-5-mini-2025-08-07"], "trouble": "",
            "prompts": prompts.templates("questions", "examples"), "not_copied": [],
        },
        "personagym": {
            "rows": len(scored), "summary": personagym.summarise(gym, tables), "trouble": {"deepseek-v3.2": trouble},
            "prompts": prompts.templates("score"), "not_copied": ["A bug | of upstream's."],
        },
        "preference": {
            "rows": len(judged), "pairs": 12, "unpaired": 0, "trouble": {}, "prompts": prompts.templates("compare"),
            "summary": preference.summarise({"names": ["x-base", "x-rlvr"]}, judged),
        },
    }  # fmt: skip


def _judgement(name: str, score: float | None) -> dict[str, Any]:
    status = "no_json" if score is None else "scored"
    return {"judge": name, "model": JUDGES.get(name, name), "score": score, "status": status, "retries": 0, "raw": [""]}
