"""Check a data directory without writing or locking anything, also while its server runs.

Git objects are hashed again, and everything that a branch or tag leads to must exist. Large files that repositories may
use must have the sha256 of their names, xorbs the hash of theirs. The database must match the repositories.
"""

import hashlib
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dulwich.objects import Blob, Commit, ObjectID, ShaFile, Tag, Tree
from dulwich.repo import Repo

from embedded_hub.database.accounts import KINDS
from embedded_hub.store.lfs import POINTER_LIMIT, Pointer, pointer_in
from embedded_hub.store.xet import intact


@dataclass
class Report:
    """`findings` are damage; `notes` are harmless leftovers; the rest counts the checked data."""

    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    repositories: int = 0
    objects: int = 0
    large_files: int = 0
    large_bytes: int = 0


@dataclass(frozen=True)
class _Row:
    id: int
    kind: str
    name: str
    moving_to: str | None


def check(root: Path) -> Report:
    """Check the data directory `root`, whose format the caller has checked."""
    report = Report()
    address = f"file:{quote(str(root / 'hub.db'))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=30)) as sql:
            for (text,) in sql.execute("PRAGMA integrity_check"):
                report.findings += [] if text == "ok" else [f"hub.db: {' '.join(text.split())}"]
            for row in _rows(sql):
                _repository(root, sql, row, report)
            _granted(root, sql, report)
            _xorbs(root, report)
            rows = _rows(sql)
    except sqlite3.DatabaseError as error:
        report.findings.append(f"hub.db: it cannot be read: {error}.")
        return report
    names_in_use = {f"{row.kind}/{name}" for row in rows for name in (row.name, row.moving_to) if name}
    for kind in KINDS:
        for folder in sorted((root / "repos" / kind).glob("*/*.git")):
            name = f"{kind}/{folder.parent.name}/{folder.stem}"
            if name not in names_in_use:
                report.notes.append(f"{name}: its folder exists, but the database does not know it.")
    return report


def _rows(sql: sqlite3.Connection) -> list[_Row]:
    query = "SELECT id, kind, namespace || '/' || name, moving_to FROM repos ORDER BY kind, namespace, name"
    return [_Row(*row) for row in sql.execute(query) if row[1] in KINDS]  # a bucket is not a git repository


def _repository(root: Path, sql: sqlite3.Connection, row: _Row, report: Report) -> None:
    label = f"{row.kind}/{row.name}"
    try:
        names = [name for name in (row.name, row.moving_to) if name]
        folder = next((path for name in names if (path := root / "repos" / row.kind / f"{name}.git").is_dir()), None)
        if folder is None:
            findings = [f"{label}: the database knows it, but its folder is missing."]
        else:
            with closing(Repo(str(folder))) as git:
                checked = _Repository(git, label)
                findings = [*checked.objects(), *checked.reachable()]
                findings += _unusable(root, sql, row, checked.pointers, label)
                report.objects += checked.count
    except Exception as error:  # whatever a broken file makes dulwich raise is a finding
        findings = [f"{label}: it cannot be read: {type(error).__name__}: {' '.join(str(error).split())[:200]}"]
    if findings and row not in _rows(sql):
        return  # deleted or moved during the check
    report.repositories += 1
    report.findings += findings


class _Repository:
    def __init__(self, git: Repo, label: str) -> None:
        self._store, self._refs, self._label = git.object_store, git.refs, label
        self.count = 0
        self.pointers: dict[str, Pointer] = {}
        """Path -> pointer of every possible large file of the history."""

    def objects(self) -> Iterator[str]:
        """Hash every object again; yield the damage."""
        for oid in set(self._store):
            self.count += 1
            name = f"{self._label}: the object {oid.decode()}"
            try:
                kind, content = self._store.get_raw(oid)
                object_ = ShaFile.from_raw_string(kind, content)
                if object_.id != oid:
                    yield f"{name} has content that belongs to {object_.id.decode()}."
                object_.check()
            except Exception as error:
                yield f"{name} is broken: {type(error).__name__}: {' '.join(str(error).split())[:200]}"

    def reachable(self) -> Iterator[str]:
        """Follow every ref; yield what is missing or of a wrong type."""
        heads = self._refs.as_dict(b"refs/")
        if b"heads/main" not in heads:
            yield f"{self._label}: its branch main is missing."
        seen: set[tuple[bytes, type[Any]]] = set()
        waiting: list[tuple[bytes, type[Any], str]] = [
            (oid, Commit, f"refs/{ref.decode(errors='replace')}") for ref, oid in heads.items()
        ]
        while waiting:
            oid, kind, origin = waiting.pop()
            if (oid, kind) in seen:
                continue
            seen.add((oid, kind))
            try:
                object_: Any = self._store[ObjectID(oid)]
            except Exception:
                yield f"{self._label}: {origin} leads to {oid.decode(errors='replace')}, which is missing or broken."
                continue
            if isinstance(object_, Tag):
                waiting.append((object_.object[1], Commit, origin))
            elif not isinstance(object_, kind):
                yield f"{self._label}: {origin} leads to {oid.decode()}, which is a {object_.type_name.decode()}."
            elif isinstance(object_, Commit):
                waiting.append((object_.tree, Tree, f"commit {oid.decode()}"))
                waiting += [(parent, Commit, f"commit {oid.decode()}") for parent in object_.parents]
            else:
                yield from self._files(object_, origin, seen, waiting)

    def _files(
        self, tree: Tree, origin: str, seen: set[tuple[bytes, type[Any]]], waiting: list[tuple[bytes, type[Any], str]]
    ) -> Iterator[str]:
        for item in tree.iteritems():
            path = f"{origin}{'/' if ':' in origin else ':'}{item.path.decode(errors='replace')}"
            if stat.S_ISDIR(item.mode):
                waiting.append((item.sha, Tree, path))
            elif (item.sha, Blob) not in seen:
                seen.add((item.sha, Blob))
                try:
                    kind, content = self._store.get_raw(item.sha)
                    if kind != Blob.type_num:
                        raise ValueError(kind)
                except Exception:
                    yield f"{self._label}: {path} leads to {item.sha.decode()}, which is missing or not a file."
                    continue
                pointer = pointer_in(content) if len(content) <= POINTER_LIMIT else None
                if pointer:
                    self.pointers[path] = pointer


def _unusable(
    root: Path, sql: sqlite3.Connection, row: _Row, pointers: dict[str, Pointer], label: str
) -> Iterator[str]:
    """Yield the large files of the history that are missing in the store or have another size."""
    for path, pointer in pointers.items():
        if not sql.execute("SELECT 1 FROM lfs_files WHERE repo=? AND oid=?", (row.id, pointer.oid)).fetchone():
            continue  # a pointer to a file that was never uploaded is ordinary text
        file = _large(root, pointer.oid)
        if not file.is_file():
            yield f"{label}: {path} needs the large file {pointer.oid}, which is missing."
        elif file.stat().st_size != pointer.size:
            yield f"{label}: {path} needs {pointer.size} bytes, but {pointer.oid} has {file.stat().st_size}."


def _granted(root: Path, sql: sqlite3.Connection, report: Report) -> None:
    query = "SELECT oid, min(namespace || '/' || name) FROM lfs_files JOIN repos ON repos.id = repo GROUP BY oid"
    for oid, user in sql.execute(query).fetchall():
        try:
            with _large(root, oid).open("rb", buffering=0) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                report.large_bytes += file.tell()
        except OSError as error:
            report.findings.append(f"lfs/{oid}: {user} may use it, but it cannot be read: {error.strerror}.")
            continue
        report.large_files += 1
        if digest != oid:
            report.findings.append(f"lfs/{oid}: {user} uses it, but its sha256 is {digest}.")


def _xorbs(root: Path, report: Report) -> None:
    for path in sorted((root / "xorbs").glob("[0-9]*/*/*")):
        try:
            if not intact(path):
                finding = f"{path.relative_to(root)}: its chunks do not have the hash of its name: remove it."
                report.findings.append(finding)
        except FileNotFoundError:
            continue  # its address was given up during the check
        except OSError as error:
            report.findings.append(f"{path.relative_to(root)}: it cannot be read: {error.strerror}.")


def _large(root: Path, oid: str) -> Path:
    return root / "lfs" / oid[:2] / oid[2:4] / oid
