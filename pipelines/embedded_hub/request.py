"""One request as the pages see it, and how they refuse it."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request

from embedded_hub.context import Hub
from embedded_hub.database.accounts import KINDS, Account, RepoRow
from embedded_hub.errors import HubError
from embedded_hub.store.git_reader import Entry
from embedded_hub.store.git_repository import GitRepo
from embedded_hub.store.lfs import Pointer


@dataclass(frozen=True)
class Here:
    """A repository that the caller may see: its row, its git side, and the page's error sentences about it."""

    row: RepoRow
    git: GitRepo

    @property
    def address(self) -> str:
        """As of its row."""
        return self.row.address

    def commit(self, revision: str) -> str:
        """The commit that `revision` names; 404 RevisionNotFound."""
        found = self.git.resolve(revision)
        if found is None:
            raise HubError(404, f"There is no revision {revision!r} in {self.address}.", "RevisionNotFound")
        return found

    def entry(self, commit: str, path: str) -> Entry:
        """What `path` is at `commit`; 404 EntryNotFound."""
        found = self.git.at(commit, path)
        if found is None:
            raise HubError(
                404, f"There is no {path!r} in {self.address} at {commit}.", "EntryNotFound", {"X-Repo-Commit": commit}
            )
        return found


@dataclass(frozen=True)
class Call:
    """A request with its body read and its token looked up."""

    request: Request
    hub: Hub
    account: Account | None
    body: bytes = b""

    @property
    def base(self) -> str:
        """The address under which the client knows this Hub (the Host header has been checked)."""
        return f"http://{self.request.headers['host']}"

    def param(self, name: str) -> str:
        """A part of the path, decoded once."""
        return str(self.request.path_params[name])

    @cached_property
    def json(self) -> dict[str, Any]:
        """The body as a JSON object; 400 otherwise."""
        try:
            value = json.loads(self.body or b"{}")
        except ValueError:
            raise HubError(400, "The body is not JSON.") from None
        if not isinstance(value, dict):
            raise HubError(400, "The body should be a JSON object.")
        return value

    @cached_property
    def form(self) -> dict[str, list[str]]:
        """The body as a form, or as the same keys in JSON."""
        if "json" in self.request.headers.get("content-type", ""):
            lists = {key: one if isinstance(one, list) else [one] for key, one in self.json.items()}
            return {key: [str(one) for one in several] for key, several in lists.items()}
        return parse_qs(self.body.decode(errors="replace"), keep_blank_values=True)

    def flag(self, name: str) -> bool:
        """A query parameter that is switched on."""
        return self.request.query_params.get(name, "").lower() in ("1", "true")

    def number(self, name: str, default: int) -> int:
        """A query parameter that is a number; `default` when it is missing or none."""
        text = self.request.query_params.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default

    def switch(self, key: str, default: bool = False) -> bool:
        """A truth value of the JSON body; 400 where it is something else."""
        value = self.json.get(key, default)
        if not isinstance(value, bool):
            raise HubError(400, f"{key} is {str(value)[:40]!r}: true or false is expected.")
        return value

    def next_page(self, name: str, value: int) -> dict[str, str]:
        """The header that leads a client to its next page, where the parameter `name` has another value."""
        query = [(key, one) for key, one in self.request.query_params.multi_items() if key != name]
        address = f"{self.base}{self.request.scope['path']}?{urlencode([*query, (name, str(value))])}"
        return {"Link": f'<{address}>; rel="next"'}

    def who(self) -> Account:
        """The caller, who must have a token."""
        if self.account is None:
            raise HubError(401, "Invalid username or password: this needs a token (HF_TOKEN).")
        return self.account

    def here(self, need: Literal["read", "write"] = "read") -> Here:
        """The repository of the path; not there for those who may not see it; 403 without the right to write."""
        kind = self.request.path_params.get("kind") or self.request.path_params.get("prefix") or "models"
        return self.find(kind.strip("/"), self.param("namespace"), self.param("name"), need)

    def find(self, kind: str, namespace: str, name: str, need: Literal["read", "write"] = "read") -> Here:
        """The same for a repository named elsewhere than in the path."""
        row = self.hub.accounts.repo(kind, namespace, name) if kind in KINDS else None
        if row is None or not self.may_read(row):
            raise self.not_found(kind, namespace, name)
        if need == "write" and not self.who().may_write(row.namespace):
            raise HubError(403, f"The token {self.who().token_name!r} may not write to {row.full_name}.")
        try:
            return Here(row, self.hub.store.repo(row.kind, row.full_name))
        except Exception:
            if self.hub.accounts.repo(kind, namespace, name) == row:
                raise
            raise self.not_found(kind, namespace, name) from None  # deleted or moved in this moment

    def may_read(self, row: RepoRow) -> bool:
        """Whether the caller may know of this repository."""
        return not row.private or (self.account is not None and self.account.may_read(row.namespace))

    def pointers(self, here: Here, entries: Collection[Entry]) -> dict[str, Pointer]:
        """Path -> pointer for the entries that really stand for a large file of this repository.

        A pointer that somebody typed, to a file that was never uploaded here, is ordinary text.
        """
        pointers = {entry.path: entry.pointer for entry in entries if entry.pointer}
        granted = self.hub.accounts.granted(here.row, {pointer.oid for pointer in pointers.values()})
        return {path: pointer for path, pointer in pointers.items() if pointer.oid in granted}

    def not_found(self, kind: str, namespace: str, name: str) -> HubError:
        """The refusal for a repository that is not there, or not for the caller."""
        status = 404 if self.account else 401  # as the Hub: without a token it does not say which of the two it is
        sentence = f"There is no {kind.removesuffix('s')} {namespace}/{name} on this Hub, or this token may not see it."
        return HubError(status, sentence, "RepoNotFound")
