"""The digests of published artifacts stay the same, or the artifacts become stale."""

from permix import run_record
from permix.pipeline import plan, recipes
from tests.support.cases import cases

SMOKE = dict(cases(__file__)["smoke"])
"""The start of each artifact's digest without inputs: the sha256 of its stage, its version and its Config.

A changed digest here makes every artifact of its stage stale. Intended changes raise the stage's version; a new Config
field has the metadata `later`.
"""


def test_the_digests_of_recipe_smoke_are_those_that_published_artifacts_have() -> None:
    """Without the Spaces, whose source files are hashed."""
    steps = [step for step in plan.build(recipes.load("smoke")) if step.stage.name != "apps"]
    digests = {s.target: run_record.digest(s.stage.name, s.stage.version, s.config, {})[:16] for s in steps}
    assert digests == SMOKE
