"""Publish the Spaces, the metric PSS among them.

In:  nothing; the folders come with permix
Out: the Space's folder of spaces/, README.md included, and its files of COPIED
"""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from permix import files, run_record
from permix.experiment.recipe import Recipe
from permix.stage import Facts, Stage, StageConfig, StageContext, recipe_field

SET_UP_BY_WATCH = ("permix-relay",)
"""Spaces that need secrets: `permix watch` publishes them with their secrets."""
_PERMIX = Path(__file__).resolve().parents[1]
_THEME, _MODELS = files.SPACES / "theme.py", files.SPACES / "models.py"
_ANSWERS = ("verifier/answer.py", "verifier/math_worker.py", "sampling/engines/token_choice.py")
COPIED = {
    "pss": (_THEME,),
    "permix-chat": (_THEME, _MODELS, *(_PERMIX / name for name in _ANSWERS)),
    "permix-leaderboard": (_THEME, _MODELS),
}
"""Files copied into a published Space from elsewhere: a Space imports nothing of permix."""
_IGNORED = shutil.ignore_patterns("__pycache__", ".*")


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """One Space; `content` and `card` are digests of its published files, so that an edit makes it stale."""

    TABLE: ClassVar[str] = "apps"

    space: str = recipe_field()
    content: str = recipe_field()
    card: str = recipe_field()


def configs(recipe: Recipe) -> list[Config]:
    """Return a Config for each Space that starts without secrets."""
    folders = sorted(readme.parent for readme in files.SPACES.glob("*/README.md"))
    return [config(recipe.org, folder.name) for folder in folders if folder.name not in SET_UP_BY_WATCH]


def config(org: str, space: str) -> Config:
    """Return the Config of the Space's present files."""
    with tempfile.TemporaryDirectory() as folder:
        built = build(space, Path(folder))
        content = run_record.content_digest(built)
        return Config(org=org, space=space, content=content, card=run_record.sha256(built / "README.md"))


def build(space: str, out: Path) -> Path:
    """Write the published folder of a Space into `out` and return it."""
    shutil.copytree(files.SPACES / space, out, ignore=_IGNORED, dirs_exist_ok=True)
    for source in COPIED.get(space, ()):
        shutil.copy(source, out)
    return out


def target(config: Config) -> str:
    """Return `spaces/org/<folder>`, without the recipe's tag: a Space's name is its address."""
    return f"spaces/{config.org}/{config.space}"


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, context: StageContext) -> Facts:
    """Build the folder."""
    return {"files": len(list(build(config.space, out).rglob("*")))}


STAGE = Stage(
    name="apps",
    card="",  # a Space's README.md is its own
    version=1,
    config=Config,
    configs=configs,
    target=target,
    run=run,
)
