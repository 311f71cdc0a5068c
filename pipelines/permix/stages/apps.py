"""Publish the Spaces: each folder of spaces/ as it is (the metric PSS among them).

In:  nothing; the folders come with permix
Out: the folder, byte for byte, its README.md too
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from permix import files, run_record
from permix.stage import Facts, Parts, StageConfig, given

if TYPE_CHECKING:
    from permix.pipeline.recipes import Recipe

CARD = ""  # a Space's README.md is its own
VERSION = 1
SET_UP_BY_WATCH = ("permix-relay",)
"""Spaces that do not start without secrets: `permix watch` publishes them, with these."""
_IGNORED = shutil.ignore_patterns("__pycache__", ".*")


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """One Space; `content` and `card` are digests of its folder, so that an edit makes it stale."""

    space: str = given()
    content: str = given()
    card: str = given()


def configs(recipe: "Recipe") -> list[Config]:
    """One for each folder of spaces/ that works without being set up."""
    folders = sorted(folder for folder in files.SPACES.iterdir() if (folder / "README.md").is_file())
    return [config(recipe.org, folder.name) for folder in folders if folder.name not in SET_UP_BY_WATCH]


def config(org: str, space: str) -> Config:
    """The Space of this folder as it is now."""
    folder = files.SPACES / space
    content = run_record.content_digest(folder, run_record.describe_files(folder, _is_ours))
    return Config(org=org, space=space, content=content, card=run_record.sha256(folder / "README.md"))


def target(config: Config) -> str:
    """`spaces/org/<folder>`; the recipe's tag does not rename a Space, since its name is its address."""
    return f"spaces/{config.org}/{config.space}"


def inputs(config: Config) -> dict[str, str]:
    """None."""
    return {}


def run(config: Config, inputs: Mapping[str, Path], out: Path, *, parts: Parts) -> Facts:
    """Copy the folder."""
    shutil.copytree(files.SPACES / config.space, out, ignore=_IGNORED, dirs_exist_ok=True)
    return {"files": len(list(out.rglob("*")))}


def _is_ours(path: str) -> bool:
    return run_record.is_content(path) and "__pycache__" not in path and not path.startswith(".")
