"""The order of the wings (pipelines/README.md): no import points up, nor in a circle; the embedded Hub stands alone.

Of tests only tests/support (and the benches) are imported.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PIPELINES = Path(__file__).parents[1] / "pipelines"
PERMIX = (
    *("__main__", "cli", "commands", "automation", "pipeline", "stages", "publishing", "training", "judging"),
    *("stage", "results", "experiment", "foreign_logs", "benchmarks", "toy", "sampling", "verifier", "sandbox"),
    *("prompting", "paper", "run_record", "parquet", "processes", "progress", "files", "errors", "__init__"),
)
"""From top to bottom: a module imports from its own wing and from those after it."""
EMBEDDED_HUB = (
    *("__main__", "server", "app", "api", "web", "upkeep", "compute", "events", "routing", "request", "context"),
    *("store", "database", "launch", "clock", "files", "errors", "__init__"),
)
INSIDE = {"permix.results": ("reporting", "claims", "formatting", "measures")}
"""The order inside a wing."""
MODULES = {
    path.relative_to(PIPELINES).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
    for package in ("permix", "embedded_hub")
    for path in sorted((PIPELINES / package).rglob("*.py"))
}


def imports(module: str) -> Iterator[str]:
    """The modules of ours that `module` imports, also lazily and for typing."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in inside]
        else:
            continue
        yield from (name for name in names if name in MODULES and name != module)


def wing(module: str) -> str:
    """The folder of the package that holds the module, or the module itself where it stands at the root."""
    return [*module.split("."), "__init__"][1]


def circle(module: str, path: tuple[str, ...], finished: set[str]) -> tuple[str, ...]:
    """Return a circle of imports that can be reached from `module`, () if there is none."""
    if module in path:
        return (*path[path.index(module) :], module)
    if module not in finished:
        for imported in imports(module):
            if closed := circle(imported, (*path, module), finished):
                return closed
        finished.add(module)
    return ()


def test_no_imports_form_a_circle() -> None:
    finished: set[str] = set()
    assert [closed for module in MODULES if (closed := circle(module, (), finished))] == []


@pytest.mark.parametrize("module", MODULES)
def test_no_import_points_up(module: str) -> None:
    order = PERMIX if module.split(".")[0] == "permix" else EMBEDDED_HUB
    own = order.index(wing(module))
    package = module.split(".")[0]
    above = [name for name in imports(module) if name.split(".")[0] == package and order.index(wing(name)) < own]
    assert above == []


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("embedded_hub")])
def test_the_embedded_hub_imports_nothing_of_permix(module: str) -> None:
    assert [name for name in imports(module) if name.startswith("permix")] == []


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: path.relative_to(TESTS).as_posix())
def test_helpers_live_in_tests_support(path: Path) -> None:
    """Also in the programs that a test starts: no file imports a test or a conftest."""
    imported = re.findall(r"^\s*(?:from|import) (tests\b[\w.]*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    allowed = ("tests.support", "tests.bench") if path.is_relative_to(TESTS / "bench") else ("tests.support",)
    assert [module for module in imported if not module.startswith(allowed)] == []


@pytest.mark.parametrize("parent", INSIDE)
def test_no_import_points_up_inside_a_wing(parent: str) -> None:
    folder_of = {name: name.split(".")[2] for name in MODULES if name.startswith(f"{parent}.")}
    order = INSIDE[parent]
    arrows = [(module, name) for module in folder_of for name in imports(module) if name in folder_of]
    assert [arrow for arrow in arrows if order.index(folder_of[arrow[1]]) < order.index(folder_of[arrow[0]])] == []
