"""`permix hub fsck`: silent about sound data, one line for every damage."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from dulwich.repo import Repo
from huggingface_hub import CommitOperationAdd, HfApi

from embedded_hub import launch
from embedded_hub.upkeep import fsck
from tests.support.cases import cases
from tests.support.hub_command import permix_hub
from tests.support.servers import stop

REPO = "repos/models/lab/a.git"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory without a server, with packs, loose objects, large files, a tag and a history."""
    root = tmp_path_factory.mktemp("home") / "hub"
    hub = launch.attach(root, 0)
    api = HfApi(endpoint=hub.url, token=hub.token)
    for name in ("lab/a", "lab/b"):
        api.create_repo(name)
        many = [CommitOperationAdd(f"d/{n}.txt", f"{name} {n}".encode()) for n in range(100)]
        api.create_commit(name, [*many, CommitOperationAdd("w.bin", name.encode() + b"\0" * 1000)], commit_message="m")
        api.upload_file(path_or_fileobj=b"\0old", path_in_repo="w2.bin", repo_id=name)
        api.create_tag(name, tag="v1", tag_message="annotated")
        api.delete_file("w2.bin", name)
    stop(root)
    yield root


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "hub"))


def test_sound_data_is_without_findings_also_while_the_server_writes(root: Path) -> None:
    report = fsck.check(root)
    assert (report.findings, report.notes, report.repositories, report.large_files) == ([], [], 2, 3)
    assert report.objects > 200
    running = launch.attach(root, 0)
    api = HfApi(endpoint=running.url, token=running.token)
    program = "import sys; from pathlib import Path; from embedded_hub.upkeep import fsck\n"
    program += "while not Path(sys.argv[2]).exists():\n    damage = fsck.check(Path(sys.argv[1])).findings\n"
    program += "    assert not damage, damage"
    environment = os.environ | {"PYTHONPATH": str(Path(fsck.__file__).parents[2])}
    end = root.with_name("end")
    with subprocess.Popen([sys.executable, "-c", program, str(root), str(end)], env=environment) as checking:
        for number in range(8):
            api.create_repo(f"lab/n{number}")
            api.upload_file(path_or_fileobj=os.urandom(2000), path_in_repo="x.bin", repo_id=f"lab/n{number}")
            api.move_repo(f"lab/n{number}", f"lab/m{number}")
            api.delete_repo(f"lab/m{number}")
        end.touch()
    stop(root)
    assert checking.returncode == 0


LARGE = hashlib.sha256(b"lab/a" + b"\0" * 1000).hexdigest()
PATTERNS = {
    "large file": f"lfs/{LARGE[:2]}/{LARGE[2:4]}/{LARGE}", "loose objects": f"{REPO}/objects/??/*",
    "pack": f"{REPO}/objects/pack/*.pack", "packs": f"{REPO}/objects/pack/*", "repository": REPO,
    "branch": f"{REPO}/refs/heads/main",
}  # fmt: skip


def damage(root: Path, target: str, way: str) -> None:
    """Damage a target, in a way of the table of damages."""
    paths = sorted(root.glob(PATTERNS[target]))
    assert paths
    if way == "exchanged":
        paths = [path for path in paths if zlib.decompress(path.read_bytes()).startswith(b"tree")][:2]
    data = bytearray(paths[0].read_bytes()) if paths[0].is_file() else bytearray()
    match way:
        case "lost":
            for path in paths:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            return
        case "flipped":
            data[len(data) // 2] ^= 255
        case "cut":
            del data[-1]
        case "empty":
            data.clear()
        case "exchanged":
            data[:] = paths[1].read_bytes()
        case "leads nowhere":
            data[:] = b"1" * 40 + b"\n"
        case "leads to a file":
            with closing(Repo(str(root / REPO))) as repo:
                data[:] = next(oid for oid in repo.object_store if repo.object_store[oid].type_name == b"blob") + b"\n"
    paths[0].chmod(0o644)
    paths[0].write_bytes(data)


@pytest.mark.parametrize(("target", "way", "sentence"), cases(__file__)["damages"])
def test_every_damage_is_found_and_only_there(root: Path, target: str, way: str, sentence: str) -> None:
    damage(root, target, way)
    findings = fsck.check(root).findings
    assert any(sentence in finding for finding in findings), findings
    assert all("\n" not in finding and "lab/b:" not in finding for finding in findings)


def test_leftovers_are_notes_and_not_damage(root: Path) -> None:
    with sqlite3.connect(root / "hub.db") as database:
        database.execute("DELETE FROM repos WHERE name='a'")
    database.close()
    report = fsck.check(root)
    assert report.findings == []
    assert report.notes == ["models/lab/a: its folder exists, but the database does not know it."]


def test_a_broken_database_is_a_finding(root: Path) -> None:
    data = bytearray((root / "hub.db").read_bytes())
    data[4096:12288] = os.urandom(8192)
    (root / "hub.db").write_bytes(data)
    findings = fsck.check(root).findings
    assert findings
    assert all(finding.startswith("hub.db: ") for finding in findings)


def test_the_command_prints_a_line_per_finding_and_says_so_with_its_exit_code(root: Path) -> None:
    sound = permix_hub(root.parent, "fsck")
    assert (sound.returncode, sound.stdout.count("\n")) == (0, 1), sound.stderr
    assert "2 repositories" in sound.stdout
    assert "nothing damaged" in sound.stdout
    damage(root, "large file", "lost")
    damaged = permix_hub(root.parent, "fsck")
    assert damaged.returncode == 1
    assert len(damaged.stdout.splitlines()) == 3  # the store lacks it, the repository needs it, and the sum
    (root / "format").write_text("9\n")
    assert "has format 9" in permix_hub(root.parent, "fsck").stderr
    missing = permix_hub(root.parent / "nowhere", "fsck")
    assert (missing.returncode, "There is no embedded Hub in" in missing.stderr) == (2, True)
