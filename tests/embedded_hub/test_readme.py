"""Every command and example of the embedded Hub's README runs, in its order."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import stop
from tests.support.wire import PIPELINES

README = (PIPELINES / "embedded_hub" / "README.md").read_text(encoding="utf-8")
SERVE, USE = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PERMIX_"))} | {
    "PYTHONPATH": str(PIPELINES),
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("readme")
    yield folder
    stop(folder / "my-hub")


def run(*command: str, folder: Path) -> str:
    child = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert child.returncode == 0, child.stdout + child.stderr
    return child.stdout


def test_the_server_and_its_clients_run_as_written(folder: Path) -> None:
    serve = SERVE.replace("--port 7862", "--port 0").split()
    with subprocess.Popen(serve, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        address = server.stdout.readline().split("listens on ")[1].split(" ")[0]
        printed = run("bash", "-ec", USE.replace("http://127.0.0.1:7862", address), folder=folder)
        stop(folder / "my-hub")
    assert "{'question': '3 + 4', 'answer': 7}" in printed
    assert (folder / "sums" / "rows.jsonl").is_file()


def test_the_example_in_python_runs_as_written(folder: Path) -> None:
    assert "['.gitattributes', 'model.bin']" in run(sys.executable, "-c", EXAMPLE, folder=folder)


def test_the_tables_name_every_layer_and_every_file_of_the_data_directory(folder: Path) -> None:
    package = PIPELINES / "embedded_hub"
    layers = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert {name for name in layers - {"__init__"} if f"`{name}`" not in README and f"`{name}/`" not in README} == set()
    files = {path.name for path in (folder / "my-hub").iterdir()} - {"hub.db-shm", "hub.db-wal", "client", "hf"}
    assert {name for name in files if f"`{name}" not in README} == set()
