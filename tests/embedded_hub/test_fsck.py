"""`permix hub fsck`: silent about sound data, one line for every damage."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from embedded_hub import launch
from embedded_hub.upkeep import fsck
from tests.support.hub_command import permix_hub
from tests.support.servers import stop

Damage = Callable[[Path], None]
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
    program += "for _ in range(60):\n    damage = fsck.check(Path(sys.argv[1])).findings; assert not damage, damage"
    environment = os.environ | {"PYTHONPATH": str(Path(fsck.__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", program, str(root)], env=environment) as checking:
        number = 0
        while checking.poll() is None:
            number += 1
            api.create_repo(f"lab/n{number}")
            api.upload_file(path_or_fileobj=os.urandom(2000), path_in_repo="x.bin", repo_id=f"lab/n{number}")
            api.move_repo(f"lab/n{number}", f"lab/m{number}")
            api.delete_repo(f"lab/m{number}")
    stop(root)
    assert checking.returncode == 0
    assert number > 2


def loose(root: Path) -> list[Path]:
    return sorted((root / REPO / "objects").glob("??/*"))


def one_large(root: Path) -> Path:
    name = hashlib.sha256(b"lab/a" + b"\0" * 1000).hexdigest()
    return root / "lfs" / name[:2] / name[2:4] / name


def flip_a_byte_of_a_large_file(root: Path) -> None:
    data = bytearray(one_large(root).read_bytes())
    data[-1] ^= 1
    one_large(root).write_bytes(data)


def lose_a_large_file(root: Path) -> None:
    one_large(root).unlink()


def cut_a_large_file(root: Path) -> None:
    one_large(root).write_bytes(one_large(root).read_bytes()[:-1])


def lose_loose_objects(root: Path) -> None:
    for path in loose(root):
        path.unlink()


def empty_a_loose_object(root: Path) -> None:
    loose(root)[0].write_bytes(b"")


def exchange_loose_objects(root: Path) -> None:
    first, second = [path for path in loose(root) if zlib.decompress(path.read_bytes()).startswith(b"tree")][:2]
    first.write_bytes(second.read_bytes())


def flip_a_byte_of_a_pack(root: Path) -> None:
    pack = next((root / REPO / "objects" / "pack").glob("*.pack"))
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 255
    pack.write_bytes(data)


def lose_a_pack(root: Path) -> None:
    for path in (root / REPO / "objects" / "pack").iterdir():
        path.unlink()


def lose_a_repository(root: Path) -> None:
    shutil.rmtree(root / REPO)


def lose_a_branch(root: Path) -> None:
    (root / REPO / "refs/heads/main").unlink()


def point_a_branch_at_nothing(root: Path) -> None:
    (root / REPO / "refs/heads/main").write_text("1" * 40 + "\n")


def point_a_branch_at_a_file(root: Path) -> None:
    from dulwich.repo import Repo

    repo = Repo(str(root / REPO))
    blob = next(oid for oid in repo.object_store if repo.object_store[oid].type_name == b"blob")
    (root / REPO / "refs/heads/main").write_bytes(blob + b"\n")
    repo.close()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (flip_a_byte_of_a_large_file, "but its sha256 is"),
        (lose_a_large_file, "is missing"),
        (cut_a_large_file, "bytes, but"),
        (lose_loose_objects, "is missing or"),
        (empty_a_loose_object, "lab/a"),
        (exchange_loose_objects, "has content that belongs to"),
        (flip_a_byte_of_a_pack, "lab/a"),
        (lose_a_pack, "is missing or"),
        (lose_a_repository, "its folder is missing"),
        (lose_a_branch, "its branch main is missing"),
        (point_a_branch_at_nothing, "refs/heads/main leads to 1111"),
        (point_a_branch_at_a_file, "which is a blob"),
    ],
)
def test_every_damage_is_found_and_only_there(root: Path, damage: Damage, sentence: str) -> None:
    damage(root)
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
    lose_a_large_file(root)
    damaged = permix_hub(root.parent, "fsck")
    assert damaged.returncode == 1
    assert len(damaged.stdout.splitlines()) == 3  # the store lacks it, the repository needs it, and the sum
    (root / "format").write_text("9\n")
    assert "has format 9" in permix_hub(root.parent, "fsck").stderr
    missing = permix_hub(root.parent / "nowhere", "fsck")
    assert (missing.returncode, "There is no embedded Hub in" in missing.stderr) == (2, True)
