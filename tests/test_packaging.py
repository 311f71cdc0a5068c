"""The wheel holds all that the commands need, and works outside the checkout."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.support.command_line import environment_of

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("permix-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def python(installed: Path, home: Path, *arguments: str) -> str:
    """Run Python where permix comes from the unpacked wheel alone."""
    (home / "cwd").mkdir(exist_ok=True)
    environment = environment_of(home, PYTHONPATH=str(installed), PERMIX_HUB_LINGER="0.2")
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=home / "cwd", capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def published(folder: str) -> set[str]:
    """The files of a folder as git knows them, below the root."""
    paths = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in paths if "__pycache__" not in path.parts}


@pytest.mark.parametrize("folder", ["personas", "hub_cards", "spaces", "pipelines/recipes"])
def test_the_wheel_holds_every_file_of(folder: str, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert published(folder)
    assert {f"permix/_data/{name}" for name in published(folder)} <= names


def test_the_wheel_holds_the_whole_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packages = published("pipelines/permix") | published("pipelines/embedded_hub")
    modules = {name.removeprefix("pipelines/") for name in packages}
    rest = {n for n in names - modules if not n.startswith(("permix/_data/", "permix-"))}
    assert modules <= names
    assert rest == set()


def test_the_installed_package_starts_and_finds_its_data(installed: Path, tmp_path: Path) -> None:
    assert python(installed, tmp_path, "-m", "permix", "--help").startswith("Usage: ")
    code = """
import permix, sys
from permix import files
from permix.pipeline import recipes
from permix.prompting import persona
assert permix.__file__.startswith(sys.argv[1]), permix.__file__
assert files.ROOT.name == "_data"
print(recipes.names(), len(persona.bundled("train")), len(persona.bundled("eval")))
"""
    recipes = sorted(path.stem for path in (ROOT / "pipelines" / "recipes").glob("*.toml"))
    assert python(installed, tmp_path, "-c", code, str(installed)) == f"{recipes} 25 16\n"


def test_the_installed_package_publishes_pools_and_spaces(installed: Path, tmp_path: Path) -> None:
    """With workers, cards and an embedded Hub that all come from the wheel."""
    for stage in ("personas", "apps"):
        assert "/permix-smoke/" in python(installed, tmp_path, "-m", "permix", stage, "--recipe", "smoke")
    code = python(installed, tmp_path, "-m", "permix", "show", "spaces/permix-smoke/pss", "--json")
    assert '"commit": null' in code  # no checkout: no commit to name


def test_the_version_is_the_packages_own(installed: Path, tmp_path: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert python(installed, tmp_path, "-m", "permix", "--version") == f"permix {version}\n"
