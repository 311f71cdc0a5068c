"""Permix's only client of a Hub, real or embedded: `huggingface_hub.HfApi` with explicit endpoint, token and cache.

A repository is written `org/name` (model), `datasets/org/name` or `spaces/org/name`, optionally with `@revision`.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from permix import files, run_record
from permix.errors import BadInput, PermixError
from permix.publishing import downloads

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PATIENCE = 120.0
"""Seconds without a reply after which a Hub counts as not answering."""
UNREAD = ("original/*", "*.pth", "*.gguf", "onnx/*")
"""Files of base models that transformers never reads; they are not downloaded."""
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def split(repo: str) -> tuple[str, str]:
    """Return `(repo_type, repo_id)` of a repository, without its revision."""
    name = repo.partition("@")[0]
    folder, _, rest = name.partition("/")
    kind = {"datasets": "dataset", "spaces": "space"}.get(folder)
    return (kind, rest) if kind else ("model", name)


@dataclass(frozen=True)
class RepositoryState:
    """A repository at one commit: {path: (sha256 or git sha1, size)} as the Hub lists it, and its run.json, if any."""

    repo: str
    sha: str
    files: Mapping[str, tuple[str, int]]
    record: Mapping[str, Any] | None

    @property
    def content_digest(self) -> str:
        """The content digest in the record; without a record, a digest of the Hub's file ids."""
        if self.record:
            return str(self.record["content_digest"])
        listed = sorted((path, oid) for path, (oid, _) in self.files.items() if run_record.is_content(path))
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()

    @property
    def intact(self) -> bool:
        """Whether the files are exactly those that the record describes."""
        described: Mapping[str, Any] = self.record["files"] if self.record else {}
        content = {path for path in self.files if run_record.is_content(path)}
        return content == set(described) and all(
            self.files[path][0] in (d["sha256"], d["sha1"]) for path, d in described.items()
        )


@dataclass(frozen=True)
class Artifact(RepositoryState):
    """The state of a repository that permix published, with its run record."""

    record: Mapping[str, Any]


@dataclass(frozen=True)
class Hub:
    """One Hub. `token` is sent to this endpoint only; `cache` is not shared between Hubs."""

    endpoint: str
    token: str | None
    cache: Path | None
    embedded: bool

    @property
    def api(self) -> "HfApi":
        """A client of this Hub."""
        import httpx2
        from huggingface_hub import HfApi, get_session

        get_session().timeout = httpx2.Timeout(PATIENCE, connect=15)  # the client's default is no timeout
        return HfApi(endpoint=self.endpoint, token=self.token or False, library_name="permix")

    def namespaces(self) -> tuple[list[str], str | None]:
        """Return the names that the token acts for, its owner's first, and its role; raise BadInput without a token."""
        if self.token is None:
            raise BadInput(f"There is no token for {self.endpoint}: set HF_TOKEN, or omit --hub for the embedded Hub.")
        with self.sentences(f"look up the token's owner on {self.endpoint}"):
            me = self.api.whoami()
            names = [me["name"], *(org["name"] for org in me.get("orgs", []))]
            return names, me.get("auth", {}).get("accessToken", {}).get("role")

    def check_write(self, org: str) -> None:
        """Raise BadInput unless the Hub answers and the token may write to `org`."""
        names, role = self.namespaces()
        if role == "read":
            raise BadInput(f"The token of {names[0]} is read-only on {self.endpoint}: use a token with write access.")
        if org not in names and not self.embedded:  # the embedded Hub's token may create any namespace
            known = ", ".join(sorted(names))
            raise BadInput(f"{names[0]} may not write to {org!r} on {self.endpoint}: use --set org=, one of {known}.")

    def check_read(self, repo: str) -> None:
        """Raise an error unless the repository exists and the token may read its files."""
        kind, name = split(repo)
        with self.sentences(f"read {repo}"):
            self.api.auth_check(name, repo_type=kind)

    def state(self, repo: str) -> RepositoryState | None:
        """Return the repository at its head or at `@revision`; an Artifact if it has a run record, None if missing."""
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

        (kind, name), (bare, _, revision) = split(repo), repo.partition("@")
        with self.sentences(f"look up {repo} on {self.endpoint}"):
            try:
                settings: Any = {"repo_type": kind, "files_metadata": True, "timeout": PATIENCE}
                info: Any = self.api.repo_info(name, revision=revision or None, **settings)
            except RevisionNotFoundError:
                raise BadInput(
                    f"{bare} has no revision {revision!r} on {self.endpoint}: name a branch, tag or commit."
                ) from None
            except GatedRepoError:
                raise
            except RepositoryNotFoundError:
                return None
            listed = {s.rfilename: (s.lfs.sha256 if s.lfs else s.blob_id, s.size) for s in info.siblings or []}
        at, content = f"{bare}@{info.sha}", (bare, str(info.sha), listed)
        record = run_record.read_record(self.download(at, run_record.RECORD)) if run_record.RECORD in listed else None
        return Artifact(*content, record) if record else RepositoryState(*content, None)

    def artifact(self, repo: str) -> Artifact | None:
        """Return the repository's state; None if it is missing or has no run record."""
        state = self.state(repo)
        return state if isinstance(state, Artifact) else None

    def repositories(self, owner: str) -> list[str]:
        """Return the visible repositories of `owner`: Spaces, models, datasets; "" lists those of all owners."""
        with self.sentences(f"list the repositories of {self.endpoint}"):
            lists = ("spaces/", self.api.list_spaces), ("", self.api.list_models), ("datasets/", self.api.list_datasets)
            return [f"{kind}{info.id}" for kind, listed in lists for info in listed(author=owner or None)]

    def download(self, repo: str, path: str) -> Path:
        """Download one file of `repo@sha`."""
        (kind, name), revision = split(repo), repo.partition("@")[2]
        with self.sentences(f"download {path} of {repo}"):
            return Path(self.api.hf_hub_download(name, path, repo_type=kind, revision=revision, cache_dir=self.cache))

    def card(self, head: RepositoryState) -> dict[str, Any]:
        """Return the metadata of the repository's README.md; {} if there are none, or they cannot be read."""
        from huggingface_hub import metadata_load
        from yaml import YAMLError

        try:
            page = self.download(f"{head.repo}@{head.sha}", "README.md") if "README.md" in head.files else None
            return dict((metadata_load(page) if page else None) or {})
        except (PermixError, ValueError, YAMLError):
            return {}

    def parameters(self, repo: str) -> int:
        """Return the parameters in `repo@sha`'s safetensors, 0 if unknown; packed weights are not counted singly."""
        with self.sentences(f"look up {repo}"):
            counts = self.api.model_info(split(repo)[1], revision=repo.partition("@")[2]).safetensors
        known = counts.parameters if counts else {}
        return sum(known.values()) if all("F" in dtype for dtype in known) else 0

    def fetch(self, head: RepositoryState, names: Sequence[str] = ()) -> Path:
        """Download these files (default: all) at the head's commit, resuming; PermixError if the record differs."""
        kind, name = split(head.repo)
        with self.sentences(f"download {head.repo}"):
            downloads.large_files(self.api, kind, name, head.sha, self._large_files(head, names))
        patterns: Any = {"allow_patterns": list(names) or None, "ignore_patterns": list(UNREAD)}
        commit: Any = {"repo_type": kind, "revision": head.sha, "cache_dir": self.cache}
        for again in (False, True):
            with self.sentences(f"download {head.repo}"):
                folder = Path(self.api.snapshot_download(name, **commit, **patterns, force_download=again))
            if not (damage := _damage(folder, head, names)):
                return folder
        raise PermixError(f"{head.repo}@{head.sha[:8]} {damage}")

    def _large_files(self, head: RepositoryState, names: Sequence[str]) -> list[downloads.LargeFile]:
        """Return the files in large-file storage to download, with their paths in the client's cache."""
        from huggingface_hub.constants import HF_HUB_CACHE

        kind, name = split(head.repo)
        blobs = (self.cache or Path(HF_HUB_CACHE)) / f"{kind}s--{name.replace('/', '--')}" / "blobs"
        return [
            downloads.LargeFile(path, oid, size, blobs / oid)
            for path, (oid, size) in head.files.items()
            if len(oid) == 64 and (path in names if names else not any(fnmatch(path, p) for p in UNREAD))
        ]

    def publish(self, repo: str, folder: Path, message: str, parent: RepositoryState | None) -> str:
        """Make `folder` the repository's whole content in one commit on top of `parent`; return the commit's sha."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        kind, name = split(repo)
        paths = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
        with self.sentences(f"publish {repo}"):
            if parent is None:
                sdk = "gradio" if kind == "space" else None
                self.api.create_repo(name, repo_type=kind, exist_ok=True, space_sdk=sdk)
                parent = self.state(repo)
            before, sha = (parent.files, parent.sha) if parent else ({}, None)
            operations: list[Any] = [CommitOperationAdd(path, source) for path, source in paths.items()]
            operations += [CommitOperationDelete(p) for p in before if p not in paths and p != ".gitattributes"]
            settings: Any = {"commit_message": message, "repo_type": kind, "parent_commit": sha}
            return str(self.api.create_commit(name, operations, **settings).oid)

    def write_card(
        self,
        head: RepositoryState,
        card: str,
        results: Mapping[str, bytes] = MappingProxyType({}),
        *,
        message: str = "Results onto the card",
        propose: bool = False,
    ) -> str:
        """Commit the card and results if out of date; `propose` falls back to a pull request; return its address."""
        from huggingface_hub import CommitOperationAdd
        from huggingface_hub.errors import HfHubHTTPError

        kind, name = split(head.repo)
        changed = {
            path: content
            for path, content in {"README.md": card.encode(), **results}.items()
            if path not in head.files or self.download(f"{head.repo}@{head.sha}", path).read_bytes() != content
        }
        if not changed:
            return ""

        def commit(create_pr: bool) -> Any:
            operations = [CommitOperationAdd(path, content) for path, content in changed.items()]
            settings: dict[str, Any] = {"commit_message": message, "repo_type": kind, "parent_commit": head.sha}
            return self.api.create_commit(name, operations, create_pr=create_pr, **settings)

        with self.sentences(f"update the card of {head.repo}"):
            try:
                commit(False)
            except HfHubHTTPError as error:
                if not propose or error.response.status_code != 403:
                    raise
                return str(commit(True).pr_url)
        return ""

    def pull_requests(self, repo: str) -> list[str]:
        """Return the titles of all pull requests, closed ones included."""
        kind, name = split(repo)
        with self.sentences(f"list the pull requests of {repo}"):
            requests = self.api.get_repo_discussions(name, repo_type=kind, discussion_type="pull_request")
            return [request.title for request in requests]

    def tags(self, repo: str) -> dict[str, str]:
        """Return {tag: commit}."""
        kind, name = split(repo)
        with self.sentences(f"list the tags of {repo}"):
            return {t.name: t.target_commit for t in self.api.list_repo_refs(name, repo_type=kind).tags}

    def tag(self, repo: str, name: str, sha: str) -> None:
        """Tag a commit; an existing tag stays."""
        kind, repo_id = split(repo)
        with self.sentences(f"tag {repo}"):
            self.api.create_tag(repo_id, tag=name, revision=sha, repo_type=kind, exist_ok=True)

    @contextmanager
    def sentences(self, action: str) -> Iterator[None]:
        """Turn the client's errors into a sentence that begins `Could not <action>`."""
        import httpx2

        try:
            yield
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, KeyError, RuntimeError) as error:
            raise self._failure(action, error) from None

    def _failure(self, action: str, error: BaseException) -> PermixError:
        import httpx2
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

        if isinstance(error, RuntimeError) and error.__cause__ is not None:  # an upload hides its reason
            error = error.__cause__
        if isinstance(error, GatedRepoError):
            return PermixError(f"Could not {action}. It is gated: accept its terms on {self.endpoint} first.")
        if isinstance(error, HfHubHTTPError):
            status = error.response.status_code
            message = _one_line(error.server_message or error.response.reason_phrase).rstrip(".")
            advice = {
                401: "The token is not valid there: log in again or set HF_TOKEN.",
                403: "The token does not have the right to do that: use a token with write access.",
                404: "The repository does not exist, or the token may not see it.",
                412: "Someone else committed to this repository meanwhile: run the command again.",
            }.get(status, f"The Hub answered {status}: {message}.")
            return PermixError(f"Could not {action}. {advice}")
        if isinstance(error, KeyError | json.JSONDecodeError):
            return BadInput(f"Could not {action}: {self.endpoint} does not answer as a Hub does.")
        if isinstance(error, ConnectionError | httpx2.HTTPError) or (isinstance(error, OSError) and not error.errno):
            return PermixError(f"Could not {action}: {self.endpoint} does not answer. Check address and network.")
        reason = error.strerror if isinstance(error, OSError) else _one_line(error).rstrip(".")
        return (BadInput if isinstance(error, ValueError) else PermixError)(f"Could not {action}: {reason}.")


def connect(url: str | None = None) -> Hub:
    """Return the Hub at `url`, or the embedded Hub, which is started if needed.

    Sets the environment of clients, without secrets: call it before huggingface_hub is imported.
    """
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # the runner has its own
    if url is None:
        from embedded_hub import launch
        from embedded_hub.errors import ServerError

        home = files.home()
        try:
            running = launch.attach(home / "hub")
        except ServerError as error:
            raise PermixError(str(error)) from None
        launch.enter(running, home)  # without inherited tokens and foreign caches
        os.environ["HF_HUB_DISABLE_XET"] = "1"  # on loopback plain LFS is faster
        _forget_secrets()
        return Hub(running.url, running.token, Path(os.environ["HF_HOME"]) / "hub", embedded=True)
    if not url.startswith(("http://", "https://")):
        raise BadInput(f"--hub {url!r} should be an address such as https://huggingface.co.")
    os.environ["HF_ENDPOINT"] = url.rstrip("/")
    cache: Path | None
    if url.rstrip("/") == "https://huggingface.co":
        from huggingface_hub import get_token

        token, cache = get_token(), None
    else:  # the stored token belongs to huggingface.co; HF caches are not keyed by endpoint
        token = os.environ.get("HF_TOKEN")
        cache = files.home() / f"hf-{hashlib.sha256(url.encode()).hexdigest()[:12]}" / "hub"
        os.environ["HF_HOME"] = str(cache.parent)
    _forget_secrets()
    return Hub(url.rstrip("/"), token, cache, embedded=False)


def _damage(folder: Path, head: RepositoryState, names: Sequence[str]) -> str:
    """Return the fault of a download (of the files `names` only, if any); "" if it fits the Hub and the record."""
    local = {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    listed = {path: size for path, (_, size) in head.files.items() if not any(fnmatch(path, p) for p in UNREAD)}
    listed = {path: size for path, size in listed.items() if not names or path in names}
    if missing := [path for path, size in listed.items() if local.get(path) != size]:
        return f"was not downloaded completely, {missing[0]} is missing or cut: run it again."
    if not names and head.record and run_record.content_digest(folder) != head.content_digest:
        return "does not have the content in its run.json: make it again with --fresh."
    return ""


def _forget_secrets() -> None:
    for name in SECRETS:
        os.environ.pop(name, None)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
