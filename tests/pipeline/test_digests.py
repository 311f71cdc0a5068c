"""The digests of published artifacts stay the same, or the artifacts become stale."""

from permix import run_record
from permix.pipeline import plan, recipes

SMOKE = {
    "datasets/permix-smoke/permix-personas": "49bebf0a839a570a",
    "permix-smoke/permix-toy-base": "d1dd6c2468006404",
    "datasets/permix-smoke/permix-mixture-arithmetic-rlvr": "68a454c5ffe2d243",
    "datasets/permix-smoke/permix-mixture-arithmetic-permix-rlvr": "0979b0ec2a636783",
    "permix-smoke/permix-toy-rlvr": "d998833061ea2eb4",
    "permix-smoke/permix-toy-permix-rlvr": "23743654ba0e8e22",
    "datasets/permix-smoke/permix-sweep-permix-toy-base": "fa996d228c66e5bc",
    "datasets/permix-smoke/permix-sweep-permix-toy-rlvr": "8b012e9553cba09c",
    "datasets/permix-smoke/permix-sweep-permix-toy-permix-rlvr": "afa223124fcbcd28",
    "datasets/permix-smoke/permix-cases": "cdefaa849a9395d7",
    "datasets/permix-smoke/permix-tables": "24c102e6190f1d3e",
}
"""The start of each artifact's digest without inputs: the sha256 of its stage, its version and its Config.

A changed digest here makes every artifact of its stage stale. Intended changes raise the stage's version; a new Config
field has the metadata `later`.
"""


def test_the_digests_of_recipe_smoke_are_those_that_published_artifacts_have() -> None:
    """Without the Spaces, whose source files are hashed."""
    steps = [step for step in plan.build(recipes.load("smoke")) if step.stage.name != "apps"]
    digests = {s.target: run_record.digest(s.stage.name, s.stage.version, s.config, {})[:16] for s in steps}
    assert digests == SMOKE
