"""Who may do what: users, organisations, tokens, and which repositories there are. One SQLite file.

Nothing that a commit's content depends on is kept here.
"""

import hashlib
import re
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from embedded_hub.clock import now

Role = Literal["read", "write", "admin"]
KINDS = ("models", "datasets", "spaces")
LOCAL_USER = "permix"
RESERVED = {*KINDS, "api", "buckets", "jobs", "collections", "settings", "docs", "static"}
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS namespaces(name TEXT PRIMARY KEY COLLATE NOCASE, kind TEXT NOT NULL, created TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS members(org TEXT NOT NULL COLLATE NOCASE, user TEXT NOT NULL COLLATE NOCASE,
    PRIMARY KEY(org, user));
CREATE TABLE IF NOT EXISTS tokens(hash TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, user TEXT NOT NULL,
    role TEXT NOT NULL, created TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS repos(id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL,
    namespace TEXT NOT NULL COLLATE NOCASE, name TEXT NOT NULL COLLATE NOCASE, private INTEGER NOT NULL,
    sdk TEXT, created TEXT NOT NULL, moving_to TEXT, UNIQUE(kind, namespace, name));
CREATE TABLE IF NOT EXISTS lfs_files(repo INTEGER NOT NULL, oid TEXT NOT NULL, PRIMARY KEY(repo, oid)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS lfs_users ON lfs_files(oid);
CREATE TABLE IF NOT EXISTS settings(key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_COLUMNS = "id, kind, namespace, name, private, sdk, created"


@dataclass(frozen=True)
class Account:
    """Who asks: what a token stands for. `orgs` are the namespaces besides the user's own."""

    user: str
    role: Role
    token_name: str
    created: str
    orgs: tuple[str, ...]

    def may_read(self, namespace: str) -> bool:
        """Whether private repositories of `namespace` are visible."""
        mine = {name.lower() for name in (self.user, *self.orgs)}
        return self.role == "admin" or namespace.lower() in mine

    def may_write(self, namespace: str) -> bool:
        """Whether repositories of `namespace` may be made and changed."""
        return self.role != "read" and self.may_read(namespace)


@dataclass(frozen=True)
class RepoRow:
    """One repository as the database knows it; `id` stays the same when it is renamed."""

    id: int
    kind: str
    namespace: str
    name: str
    private: bool
    sdk: str | None
    created: str

    @property
    def full_name(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def address(self) -> str:
        """`namespace/name` with the prefix that addresses outside /api have: `datasets/namespace/name`."""
        return self.full_name if self.kind == "models" else f"{self.kind}/{self.full_name}"


class NameTaken(Exception):
    """There is something of that name already."""


def valid_name(name: str) -> bool:
    """Whether `name` can be the name of a user, an organisation or a repository (the Hub's own rule)."""
    return bool(_NAME.fullmatch(name)) and not any(two in name for two in ("..", "--")) and not name.endswith(".git")


def valid_namespace(name: str) -> bool:
    """Whether `name` can be a user or organisation: no word that begins one of the Hub's own addresses."""
    return valid_name(name) and name.lower() not in RESERVED


class Accounts:
    """The database; safe to use from many threads and processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        path.touch(0o600)  # secrets of webhooks, jobs and Spaces; SQLite gives its other files the same rights
        path.chmod(0o600)
        self.sql.executescript(_SCHEMA)

    @property
    def sql(self) -> sqlite3.Connection:
        """This thread's connection."""
        if not hasattr(self._local, "connection"):
            connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            self._local.connection = connection
        found: sqlite3.Connection = self._local.connection
        return found

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What this thread changes inside happens all at once or not at all; one inside another joins it."""
        sql = self.sql
        if sql.in_transaction:
            yield
            return
        sql.execute("BEGIN IMMEDIATE")
        self._local.then = []
        try:
            yield
        except BaseException:
            sql.execute("ROLLBACK")
            raise
        sql.execute("COMMIT")
        for do in self._local.then:
            do()

    def when_done(self, do: Callable[[], None]) -> None:
        """Do something once this thread's transaction is through: others see nothing of it before."""
        if self.sql.in_transaction:
            self._local.then.append(do)
        else:
            do()

    def setting(self, key: str) -> str:
        """A random value kept under `key`, made when first asked for."""
        self.sql.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (key, secrets.token_hex(32)))
        return str(self.sql.execute("SELECT value FROM settings WHERE key=?", (key,)).fetchone()[0])

    # Tokens

    def new_token(self, name: str, user: str, role: Role, token: str | None = None) -> str:
        """Make a token for `user`, who is made too when unknown. Only its hash is kept. NameTaken."""
        token = token or f"hf_{secrets.token_urlsafe(32).replace('-', 'x').replace('_', 'y')}"
        self.add_namespace(user, "user")
        try:
            self.sql.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?)", (_hash(token), name, user, role, now()))
        except sqlite3.IntegrityError:
            raise NameTaken(name) from None
        return token

    def revoke_token(self, name: str) -> bool:
        """Make a token worthless at once; False when there is none of that name."""
        return self.sql.execute("DELETE FROM tokens WHERE name=?", (name,)).rowcount > 0

    def tokens(self) -> list[Account]:
        """What every token stands for, the oldest first."""
        rows = self.sql.execute("SELECT user, role, name, created FROM tokens ORDER BY created, name").fetchall()
        return [self._account(*row) for row in rows]

    def account(self, token: str) -> Account | None:
        """Whom `token` stands for."""
        row = self.sql.execute("SELECT user, role, name, created FROM tokens WHERE hash=?", (_hash(token),)).fetchone()
        return self._account(*row) if row else None

    def account_of(self, user: str, role: Role) -> Account:
        """What `user` may see and do with a token of that role: for what happens later in their name."""
        return self._account(user, role, "", "")

    def _account(self, user: str, role: Role, name: str, created: str) -> Account:
        if role == "admin":
            found = self.sql.execute("SELECT name FROM namespaces WHERE name != ? ORDER BY name", (user,))
        else:
            found = self.sql.execute("SELECT org FROM members WHERE user=? ORDER BY org", (user,))
        return Account(user, role, name, created, tuple(org for (org,) in found))

    # Namespaces

    def add_namespace(self, name: str, kind: Literal["user", "org"]) -> None:
        """Make a user or organisation unless it is there."""
        self.sql.execute("INSERT OR IGNORE INTO namespaces VALUES (?, ?, ?)", (name, kind, now()))

    def add_member(self, org: str, user: str) -> None:
        """Let `user` act for `org`; both are made when unknown."""
        self.add_namespace(user, "user")
        self.add_namespace(org, "org")
        self.sql.execute("INSERT OR IGNORE INTO members VALUES (?, ?)", (org, user))

    # Repositories

    def repo(self, kind: str, namespace: str, name: str) -> RepoRow | None:
        """The repository of that name, whatever the case of its letters."""
        where = "kind=? AND namespace=? AND name=?"
        row = self.sql.execute(f"SELECT {_COLUMNS} FROM repos WHERE {where}", (kind, namespace, name)).fetchone()  # noqa: S608
        return _row(row) if row else None

    def repo_of_id(self, id_: int) -> RepoRow | None:
        """The repository with that id, whatever its name is now."""
        row = self.sql.execute(f"SELECT {_COLUMNS} FROM repos WHERE id=?", (id_,)).fetchone()  # noqa: S608
        return _row(row) if row else None

    def repos(self, kind: str, namespace: str | None = None) -> list[RepoRow]:
        """All repositories of one kind, the newest first."""
        where, values = ("AND namespace=?", (kind, namespace)) if namespace else ("", (kind,))
        query = f"SELECT {_COLUMNS} FROM repos WHERE kind=? {where} ORDER BY id DESC"  # noqa: S608
        return [_row(row) for row in self.sql.execute(query, values)]

    def add_repo(self, kind: str, namespace: str, name: str, private: bool, sdk: str | None) -> None:
        """Enter a repository whose folder is ready: from now on it exists. NameTaken."""
        values = (kind, namespace, name, int(private), sdk, now())
        query = "INSERT INTO repos(kind, namespace, name, private, sdk, created) VALUES (?, ?, ?, ?, ?, ?)"
        try:
            self.sql.execute(query, values)
        except sqlite3.IntegrityError:
            raise NameTaken(f"{namespace}/{name}") from None

    def remove_repo(self, repo: RepoRow) -> None:
        """Strike a repository out, and its right to large files."""
        self.sql.execute("DELETE FROM repos WHERE id=?", (repo.id,))
        self.sql.execute("DELETE FROM lfs_files WHERE repo=?", (repo.id,))

    def set_private(self, repo: RepoRow, private: bool) -> None:
        """Say who sees a repository."""
        self.sql.execute("UPDATE repos SET private=? WHERE id=?", (int(private), repo.id))

    def begin_move(self, repo: RepoRow, to: str) -> None:
        """Note where a repository is going, so that `moves` can finish after a kill."""
        self.sql.execute("UPDATE repos SET moving_to=? WHERE id=?", (to, repo.id))

    def end_move(self, repo: RepoRow, to: str | None) -> None:
        """Give the repository its new name, or drop the move when `to` is None."""
        namespace, name = to.split("/") if to else (repo.namespace, repo.name)
        query = "UPDATE repos SET namespace=?, name=?, moving_to=NULL WHERE id=?"
        self.sql.execute(query, (namespace, name, repo.id))

    def moves(self) -> list[tuple[RepoRow, str]]:
        """Moves that were begun and not ended."""
        rows = self.sql.execute(f"SELECT {_COLUMNS}, moving_to FROM repos WHERE moving_to IS NOT NULL")  # noqa: S608
        return [(_row(row[:-1]), row[-1]) for row in rows.fetchall()]

    # Which repository may use which large file: knowing a sha256 must not be enough to read what has it

    def grant(self, repo_id: int, oid: str) -> None:
        """Let a repository, if it is still there, use the large file `oid`."""
        query = "INSERT OR IGNORE INTO lfs_files SELECT id, ? FROM repos WHERE id=?"
        self.sql.execute(query, (oid, repo_id))

    def granted(self, repo: RepoRow, oids: Iterable[str]) -> set[str]:
        """Those of `oids` that `repo` may use."""
        query = "SELECT 1 FROM lfs_files WHERE repo=? AND oid=?"
        return {oid for oid in oids if self.sql.execute(query, (repo.id, oid)).fetchone()}

    def grants(self, repo: RepoRow) -> list[str]:
        """All large files that `repo` may use."""
        return [oid for (oid,) in self.sql.execute("SELECT oid FROM lfs_files WHERE repo=?", (repo.id,))]

    def granted_anywhere(self, oid: str) -> bool:
        """Whether any repository may use the large file `oid`."""
        return self.sql.execute("SELECT 1 FROM lfs_files WHERE oid=? LIMIT 1", (oid,)).fetchone() is not None

    def revoke(self, repo: RepoRow, oid: str) -> None:
        """Take back the right of `repo` to the large file `oid`."""
        self.sql.execute("DELETE FROM lfs_files WHERE repo=? AND oid=?", (repo.id, oid))

    def close(self) -> None:
        """Close this thread's connection."""
        with suppress(AttributeError):
            self._local.connection.close()
            del self._local.connection


def _row(row: tuple[Any, ...]) -> RepoRow:
    id_, kind, namespace, name, private, sdk, created = row
    return RepoRow(id_, kind, namespace, name, bool(private), sdk, created)


def _hash(token: str) -> str:
    # Tokens are 256 random bits, so a plain hash cannot be guessed back, and the lookup goes by the hash alone.
    return hashlib.sha256(token.encode()).hexdigest()


def new_id() -> str:
    """An id as the Hub's objects have it."""
    return secrets.token_hex(12)
