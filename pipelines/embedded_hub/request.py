"""One HTTP request as the routes read it, and the refusals that several of them share."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qs, quote, urlencode

from starlette.requests import Request

from embedded_hub.context import ServerContext
from embedded_hub.database.accounts import KINDS, Account, RepoRow
from embedded_hub.errors import HubError
from embedded_hub.store.git_reader import Entry
from embedded_hub.store.git_repository import GitRepository
from embedded_hub.store.lfs import Pointer

Row = TypeVar("Row")


@dataclass(frozen=True)
class OpenRepository:
    """A repository that the caller may see: its database row and its git repository."""

    row: RepoRow
    git: GitRepository

    @property
    def address(self) -> str:
        """The address of its row."""
        return self.row.address

    def commit(self, revision: str) -> str:
        """Return the commit that `revision` names; 404 RevisionNotFound."""
        oid = self.git.resolve(revision)
        if oid is None:
            raise HubError(404, f"There is no revision {revision!r} in {self.address}.", "RevisionNotFound")
        return oid

    def head(self, branch: str) -> str:
        """Return the tip of `branch`; 404 RevisionNotFound."""
        tip = self.git.head(branch)
        if tip is None:
            raise HubError(404, f"There is no branch {branch!r} in {self.address}.", "RevisionNotFound")
        return tip

    def entry(self, commit: str, path: str) -> Entry:
        """Return the file or folder `path` at `commit`; 404 EntryNotFound."""
        entry = self.git.at(commit, path)
        if entry is None:
            sentence = f"There is no {path!r} in {self.address} at {commit}."
            raise HubError(404, sentence, "EntryNotFound", {"X-Repo-Commit": commit})
        return entry


@dataclass(frozen=True)
class HubRequest:
    """A request with its body read and its token looked up."""

    http: Request
    context: ServerContext
    account: Account | None
    body: bytes = b""

    @property
    def base_url(self) -> str:
        """This Hub's address as the client knows it (the Host header has been checked)."""
        return f"http://{self.http.headers['host']}"

    def param(self, name: str) -> str:
        """Return a part of the path, decoded once."""
        return str(self.http.path_params[name])

    @cached_property
    def json(self) -> dict[str, Any]:
        """The body as a JSON object; 400 otherwise."""
        try:
            body = json.loads(self.body or b"{}")
        except ValueError:
            raise HubError(400, "The body is not JSON.") from None
        if not isinstance(body, dict):
            raise HubError(400, "The body should be a JSON object.")
        return body

    @cached_property
    def form(self) -> dict[str, list[str]]:
        """The body as a form, or the same keys in JSON."""
        if "json" in self.http.headers.get("content-type", ""):
            lists = {key: values if isinstance(values, list) else [values] for key, values in self.json.items()}
            return {key: [str(value) for value in values] for key, values in lists.items()}
        return parse_qs(self.body.decode(errors="replace"), keep_blank_values=True)

    def flag(self, name: str) -> bool:
        """Return whether a query parameter is switched on."""
        return self.http.query_params.get(name, "").lower() in ("1", "true")

    def number(self, name: str, default: int) -> int:
        """Return a query parameter as a number; `default` when it is missing or not a number."""
        text = self.http.query_params.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default

    def boolean(self, key: str, default: bool = False) -> bool:
        """Return a truth value of the JSON body; 400 for any other type."""
        value = self.json.get(key, default)
        if not isinstance(value, bool):
            raise HubError(400, f"{key} is {str(value)[:40]!r}: true or false is expected.")
        return value

    def page(self, rows: Iterable[Row], most: int) -> tuple[list[Row], dict[str, str]]:
        """Return the page of `rows` that `cursor` and `limit` select, and the header that leads to the next one."""
        start, size = self.number("cursor", 0), self.limit(most, most)
        page = list(islice(rows, start, start + size + 1))
        return page[:size], self.next_page("cursor", start + size) if len(page) > size else {}

    def limit(self, default: int, most: int) -> int:
        """Return the query parameter `limit`, from 1 to `most`."""
        return min(max(self.number("limit", default), 1), most)

    def next_page(self, name: str, value: int) -> dict[str, str]:
        """Return the Link header to the page where the query parameter `name` is `value`."""
        query = [(key, text) for key, text in self.http.query_params.multi_items() if key != name]
        address = f"{self.base_url}{self.http.scope['path']}?{urlencode([*query, (name, str(value))])}"
        return {"Link": f'<{address}>; rel="next"'}

    def caller(self) -> Account:
        """Return the caller's account; 401 without a token."""
        if self.account is None:
            raise HubError(401, "Invalid username or password: this needs a token (HF_TOKEN).")
        return self.account

    def writer(self) -> Account:
        """Return the caller's account; 403 for a token that may only read."""
        if self.caller().role == "read":
            raise HubError(403, f"The token {self.caller().token_name!r} may only read.")
        return self.caller()

    def check_may_write(self, namespace: str, action: str) -> None:
        """Refuse with 403 unless the caller may write to `namespace`; `action` completes "The token may not"."""
        if not self.caller().may_write(namespace):
            raise HubError(403, f"The token {self.caller().token_name!r} may not {action}.")

    def repository(self, need: Literal["read", "write"] = "read") -> OpenRepository:
        """Return the repository of the path; 404 or 401 if the caller may not see it, 403 if it may not write."""
        kind = self.http.path_params.get("kind") or self.http.path_params.get("prefix") or "models"
        namespace, name = self.param("namespace"), self.param("name")
        try:
            return self.find_repository(kind.strip("/"), namespace, name, need)
        except HubError:
            row = self.context.accounts.renamed(kind.strip("/"), namespace, name) if need == "read" else None
            if row is None or not self.may_read(row):
                raise
        old, new = f"/{quote(namespace)}/{quote(name)}", f"/{quote(row.full_name)}"
        query = f"?{self.http.url.query}" if self.http.url.query else ""
        location = self.http.scope["path"].replace(old, new, 1) + query
        raise HubError(307, f"{namespace}/{name} is now {row.full_name}.", headers={"Location": location})

    def find_repository(
        self, kind: str, namespace: str, name: str, need: Literal["read", "write"] = "read"
    ) -> OpenRepository:
        """Return the named repository, with the refusals of `repository`."""
        row = self.context.accounts.repo(kind, namespace, name) if kind in KINDS else None
        if row is None or not self.may_read(row):
            raise self.not_found(kind, namespace, name)
        if need == "write":
            self.check_may_write(row.namespace, f"write to {row.full_name}")
        try:
            return OpenRepository(row, self.context.repositories.open(row.kind, row.full_name))
        except Exception:
            if self.context.accounts.repo(kind, namespace, name) == row:
                raise
            raise self.not_found(kind, namespace, name) from None  # deleted or moved at this moment

    def may_read(self, row: RepoRow) -> bool:
        """Return whether the caller may know of this repository."""
        return not row.private or (self.account is not None and self.account.may_read(row.namespace))

    def pointers(self, repository: OpenRepository, entries: Collection[Entry]) -> dict[str, Pointer]:
        """Return path -> pointer of this repository's large files; pointers never uploaded to it are ordinary text."""
        pointers = {entry.path: entry.pointer for entry in entries if entry.pointer}
        granted = self.context.accounts.granted(repository.row, {pointer.oid for pointer in pointers.values()})
        return {path: pointer for path, pointer in pointers.items() if pointer.oid in granted}

    def not_found(self, kind: str, namespace: str, name: str) -> HubError:
        """Return the refusal for a repository that does not exist, or that the caller may not see."""
        status = 404 if self.account else 401  # as the Hub: without a token it does not say which of the two it is
        sentence = f"There is no {kind.removesuffix('s')} {namespace}/{name} on this Hub, or this token may not see it."
        return HubError(status, sentence, "RepoNotFound")


def objects(body: dict[str, Any], key: str, most: int) -> list[dict[str, Any]]:
    """Return a list of JSON objects, empty where `body` lacks it; 400 for anything else."""
    values = body.get(key)
    values = [] if values is None else values
    if not isinstance(values, list) or len(values) > most or not all(isinstance(value, dict) for value in values):
        raise HubError(400, f"{key} should be a list of at most {most} objects.")
    return values
