"""The digests of published artifacts stay the same, or the artifacts become stale."""

from permix import run_record
from permix.pipeline import plan, recipes

SMOKE = {
    "datasets/permix-smoke/permix-personas": "49bebf0a839a570ae43eadf64c1b119f1fccc5bcb24360d580ab6e641c8b25ea",
    "permix-smoke/permix-toy-base": "d1dd6c2468006404790220be6f9f7aefd9380670d197c0e69a3b86f7435b5469",
    "datasets/permix-smoke/permix-mixture-arithmetic-rlvr": "68a454c5ffe2d243ea593f6e532851215131a2998544ee462d4aef1d3f73585d",
    "datasets/permix-smoke/permix-mixture-arithmetic-permix-rlvr": "0979b0ec2a636783a3bfd781a14eb0c1894dc6f6729f4076defe2bccceea2e57",
    "permix-smoke/permix-toy-rlvr": "d998833061ea2eb428c9e08d3975c301569b6d8eb8cdff030c4df1801541d80e",
    "permix-smoke/permix-toy-permix-rlvr": "23743654ba0e8e220e8a27432c765c2c6d476705e3071d6c5c6a814d752d2e2a",
    "datasets/permix-smoke/permix-sweep-permix-toy-base": "fa996d228c66e5bcc7d5a1b5132eb0a4b75d4b82d09a08f7411537f4fce519d8",
    "datasets/permix-smoke/permix-sweep-permix-toy-rlvr": "8b012e9553cba09c584d7cc073cd15905e43df429023bd725a4edbc865dfb732",
    "datasets/permix-smoke/permix-sweep-permix-toy-permix-rlvr": "afa223124fcbcd2815bd68097435d670e2b7080829ab7152032346d6c18e90cd",
    "datasets/permix-smoke/permix-cases": "cdefaa849a9395d727c9c6e56ec665978bfcbaaa73e4c820cf65899d62dfe504",
    "datasets/permix-smoke/permix-tables": "24c102e6190f1d3ec5449d20f22de7b03c1aab45a4f489bd3f410d9e61943068",
}
"""The digest of each artifact of recipe smoke without its inputs: of its stage, its version and its Config.

A changed digest here makes every artifact of its stage stale. Intended changes raise the stage's version; a new Config
field has the metadata `later`.
"""


def test_the_digests_of_recipe_smoke_are_those_that_published_artifacts_have() -> None:
    """Without the Spaces, whose source files are hashed."""
    steps = [step for step in plan.build(recipes.load("smoke")) if step.stage.name != "apps"]
    assert {s.target: run_record.digest(s.stage.name, s.stage.version, s.config, {}) for s in steps} == SMOKE
