"""Users, organisations, tokens, and repositories with their visibility. No commit's content depends on this module."""

import hashlib
import re
import secrets
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from embedded_hub.clock import now
from embedded_hub.database.connection import Database

Role = Literal["read", "write", "admin"]
KINDS = ("models", "datasets", "spaces")
LOCAL_USER = "permix"
RESERVED = {*KINDS, "api", "buckets", "jobs", "collections", "settings", "docs", "static"}
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_TOKENS = "SELECT user, role, name, created FROM tokens"


@dataclass(frozen=True)
class Account:
    """The user and role of a token. `orgs` are the namespaces besides the user's own."""

    user: str
    role: Role
    token_name: str
    created: str
    orgs: tuple[str, ...]

    def may_read(self, namespace: str) -> bool:
        """Return whether private repositories of `namespace` are visible."""
        own_namespaces = {name.lower() for name in (self.user, *self.orgs)}
        return self.role == "admin" or namespace.lower() in own_namespaces

    def may_write(self, namespace: str) -> bool:
        """Return whether repositories of `namespace` may be created and changed."""
        return self.role != "read" and self.may_read(namespace)


@dataclass(frozen=True)
class RepoRow:
    """One repository in the database; `id` survives a rename."""

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
        """The path of addresses outside /api: `namespace/name` for a model, else `datasets/namespace/name`."""
        return self.full_name if self.kind == "models" else f"{self.kind}/{self.full_name}"


class NameTaken(Exception):
    """The name is already in use."""


def valid_name(name: str) -> bool:
    """Return whether a user, an organisation or a repository may have this name, by the Hub's own rule."""
    return bool(_NAME.fullmatch(name)) and not any(two in name for two in ("..", "--")) and not name.endswith(".git")


def valid_namespace(name: str) -> bool:
    """Return whether a user or organisation may have this name; words of the Hub's own addresses are reserved."""
    return valid_name(name) and name.lower() not in RESERVED


class Accounts:
    """The tables of users, tokens and repositories."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # Tokens

    def new_token(self, name: str, user: str, role: Role, token: str | None = None) -> str:
        """Create a token for `user`, and the user if needed; only the token's hash is stored. Raises NameTaken."""
        token = token or f"hf_{secrets.token_urlsafe(32).replace('-', 'x').replace('_', 'y')}"
        self.add_namespace(user, "user")
        try:
            self.database.run("INSERT INTO tokens VALUES (?, ?, ?, ?, ?)", _hash(token), name, user, role, now())
        except sqlite3.IntegrityError:
            raise NameTaken(name) from None
        return token

    def revoke_token(self, name: str) -> bool:
        """Delete a token; return whether it existed."""
        return self.database.delete("tokens", "name", name)

    def tokens(self) -> list[Account]:
        """Return the account of every token, the oldest first."""
        return [self._account(*row) for row in self.database.run(f"{_TOKENS} ORDER BY created, name").fetchall()]

    def account(self, token: str) -> Account | None:
        """Return the account of `token`."""
        row = self.database.run(f"{_TOKENS} WHERE hash=?", _hash(token)).fetchone()
        return self._account(*row) if row else None

    def account_of(self, user: str, role: Role) -> Account:
        """Return the permissions of `user` with a token of that role, for later actions in the user's name."""
        return self._account(user, role, "", "")

    def _account(self, user: str, role: Role, name: str, created: str) -> Account:
        if role == "admin":
            rows = self.database.run("SELECT name FROM namespaces WHERE name != ? ORDER BY name", user)
        else:
            rows = self.database.run("SELECT org FROM members WHERE user=? ORDER BY org", user)
        return Account(user, role, name, created, tuple(org for (org,) in rows))

    # Namespaces

    def add_namespace(self, name: str, kind: Literal["user", "org"]) -> None:
        """Create a user or organisation unless it exists."""
        self.database.run("INSERT OR IGNORE INTO namespaces VALUES (?, ?, ?)", name, kind, now())

    def add_member(self, org: str, user: str) -> None:
        """Let `user` act for `org`; both are created if needed."""
        self.add_namespace(user, "user")
        self.add_namespace(org, "org")
        self.database.run("INSERT OR IGNORE INTO members VALUES (?, ?)", org, user)

    # Repositories

    def repo(self, kind: str, namespace: str, name: str) -> RepoRow | None:
        """Return the repository of that name; case does not matter."""
        condition = "kind=? AND namespace=? AND name=?"
        return self.database.find(RepoRow, "repos", condition, kind, namespace, name)

    def renamed(self, kind: str, namespace: str, name: str) -> RepoRow | None:
        """Return the repository that had this name before it moved."""
        query = "SELECT repo FROM former_names WHERE kind=? AND namespace=? AND name=?"
        repo_id = self.database.first(query, kind, namespace, name)
        return self.repo_of_id(repo_id) if repo_id else None

    def repo_of_id(self, id_: int) -> RepoRow | None:
        """Return the repository with that id, under its current name."""
        return self.database.find(RepoRow, "repos", "id=?", id_)

    def repos(self, kind: str, namespace: str | None = None) -> list[RepoRow]:
        """Return all repositories of one kind, the newest first."""
        condition = "kind=? AND namespace=coalesce(?, namespace) ORDER BY id DESC"
        return self.database.select(RepoRow, "repos", condition, kind, namespace or None)

    def add_repo(self, kind: str, namespace: str, name: str, private: bool, sdk: str | None) -> None:
        """Enter a repository whose folder is ready; this creates it. Raises NameTaken."""
        query = "INSERT INTO repos(kind, namespace, name, private, sdk, created) VALUES (?, ?, ?, ?, ?, ?)"
        former = "DELETE FROM former_names WHERE kind=? AND namespace=? AND name=?"
        try:
            with self.database.transaction():
                self.database.run(query, kind, namespace, name, private, sdk, now())
                self.database.run(former, kind, namespace, name)
        except sqlite3.IntegrityError:
            raise NameTaken(f"{namespace}/{name}") from None

    def remove_repo(self, repo: RepoRow) -> None:
        """Delete a repository's row and its grants of large files."""
        self.database.delete("repos", "id", repo.id)
        self.database.delete("lfs_files", "repo", repo.id)

    def set_private(self, repo: RepoRow, private: bool) -> None:
        """Set a repository's visibility."""
        self.database.run("UPDATE repos SET private=? WHERE id=?", private, repo.id)

    def begin_move(self, repo: RepoRow, target: str) -> None:
        """Record a repository's new name, so that a move can be finished after a kill."""
        self.database.run("UPDATE repos SET moving_to=? WHERE id=?", target, repo.id)

    def end_move(self, repo: RepoRow, target: str | None) -> None:
        """Rename the repository, or drop the move when `target` is None."""
        namespace, name = target.split("/") if target else (repo.namespace, repo.name)
        query = "UPDATE repos SET namespace=?, name=?, moving_to=NULL WHERE id=?"
        self.database.run(query, namespace, name, repo.id)
        if target:
            former = "INSERT OR REPLACE INTO former_names VALUES (?, ?, ?, ?)"
            self.database.run(former, repo.kind, repo.namespace, repo.name, repo.id)

    def moves(self) -> list[tuple[RepoRow, str]]:
        """Return the moves that have begun and not ended."""
        moves = self.database.run("SELECT id, moving_to FROM repos WHERE moving_to IS NOT NULL").fetchall()
        return [(row, target) for id_, target in moves if (row := self.repo_of_id(id_))]

    # Grants of large files: knowing a sha256 must not be enough to read the file

    def grant(self, repo_id: int, oid: str) -> None:
        """Let a repository, if it still exists, use the large file `oid`."""
        query = "INSERT OR IGNORE INTO lfs_files SELECT id, ? FROM repos WHERE id=?"
        self.database.run(query, oid, repo_id)

    def granted(self, repo: RepoRow, oids: Iterable[str]) -> set[str]:
        """Return the `oids` that `repo` may use."""
        query = "SELECT 1 FROM lfs_files WHERE repo=? AND oid=?"
        return {oid for oid in oids if self.database.first(query, repo.id, oid)}

    def grants(self, repo: RepoRow) -> list[str]:
        """Return all large files that `repo` may use."""
        return [oid for (oid,) in self.database.run("SELECT oid FROM lfs_files WHERE repo=?", repo.id)]

    def granted_anywhere(self, oid: str) -> bool:
        """Return whether any repository may use the large file `oid`."""
        return self.database.first("SELECT 1 FROM lfs_files WHERE oid=? LIMIT 1", oid) is not None

    def revoke(self, repo: RepoRow, oid: str) -> None:
        """Withdraw the grant of the large file `oid` from `repo`."""
        self.database.run("DELETE FROM lfs_files WHERE repo=? AND oid=?", repo.id, oid)


def _hash(token: str) -> str:
    # Tokens are 256 random bits, so a plain hash cannot be guessed back, and the lookup uses the hash alone.
    return hashlib.sha256(token.encode()).hexdigest()
