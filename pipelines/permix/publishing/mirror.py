"""Copy a repository from one Hub to another, through the same client with a token per Hub."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from permix.errors import BadInput, PermixError
from permix.publishing import downloads

if TYPE_CHECKING:
    from huggingface_hub import HfApi, RepoFile

BODY = 100_000_000
"""Bytes of ordinary files in one commit. Real Hubs refuse more, so the largest repositories need several commits."""


@dataclass(frozen=True)
class Side:
    """A Hub and its token, if there is one."""

    url: str
    token: str | None

    def api(self) -> "HfApi":
        """Return a client of this Hub."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.url, token=self.token or False)


def address(url: str) -> str:
    """Return `url` without a slash at its end; raise BadInput if it is not the address of a Hub."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise BadInput(f"{url!r} is not the address of a Hub: it should be like https://huggingface.co.")
    return url.rstrip("/")


def token_for(url: str) -> str | None:
    """Return the user's token if it belongs to the Hub at `url` (that of HF_ENDPOINT, or huggingface.co), else None."""
    environment = os.environ
    if (environment.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/") != url:
        return None
    token = environment.get("HF_TOKEN") or environment.get("HUGGING_FACE_HUB_TOKEN")
    cache = Path(environment.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    path = Path(environment.get("HF_TOKEN_PATH") or Path(environment.get("HF_HOME") or cache) / "token").expanduser()
    return token or (path.read_text().strip() if path.is_file() else None) or None


def copy(kind: str, name: str, revision: str, source: Side, target: Side, work: Path) -> str:
    """Make the target's repository a copy of the source's `revision`; return `name@commit` of the target.

    The message of the commit and the tag `mirror-of-<commit>` name the source's commit. Files stay under `work` until
    all are copied, so that an interrupted copy resumes. Raise PermixError if a side refuses, cannot be reached, or has
    different content in the end.
    """
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return _copy(kind, name, revision, source, target, work)
    except HfHubHTTPError as error:
        reason = error.server_message or str(error)
    except (httpx2.HTTPError, OSError, RuntimeError, ValueError) as error:
        reason = str(error) or type(error).__name__
    raise PermixError(f"{name} was not mirrored from {source.url} to {target.url}: {' '.join(reason.split())[:500]}")


def _copy(kind: str, name: str, revision: str, source: Side, target: Side, work: Path) -> str:
    source_api, target_api = source.api(), target.api()
    info: Any = source_api.repo_info(name, repo_type=kind, revision=revision)
    files = _files(source_api, kind, name, info.sha)
    folder = work / f"{kind}--{name.replace('/', '--')}--{info.sha}"
    _fetch(source_api, kind, name, info.sha, files, folder)
    sdk = info.sdk if kind == "space" else None
    target_api.create_repo(name, repo_type=kind, private=bool(info.private), space_sdk=sdk, exist_ok=True)
    full = {"model": "", "dataset": "datasets/", "space": "spaces/"}[kind] + name
    message, description = f"Mirror of {full}@{info.sha[:12]}", f"{source.url}/{full}@{info.sha}"
    commit = _send(target_api, kind, name, files, folder, message, description)
    _compare(files, _files(target_api, kind, name, commit), folder, target.url)
    target_api.create_tag(name, tag=f"mirror-of-{info.sha}", revision=commit, repo_type=kind, exist_ok=True)
    shutil.rmtree(folder)
    return f"{full}@{commit}"


def _files(api: "HfApi", kind: str, name: str, commit: str) -> dict[str, "RepoFile"]:
    from huggingface_hub import RepoFile

    tree = api.list_repo_tree(name, recursive=True, revision=commit, repo_type=kind)
    return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}


def _fetch(api: "HfApi", kind: str, name: str, commit: str, files: dict[str, "RepoFile"], folder: Path) -> None:
    """Download every file into `folder`, except those of an earlier attempt."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = [(path, file.lfs) for path, file in files.items() if file.lfs]
    large = [downloads.LargeFile(path, lfs.sha256, lfs.size, folder / path) for path, lfs in stored]
    downloads.large_files(api, kind, name, commit, large)
    api.snapshot_download(name, repo_type=kind, revision=commit, local_dir=folder)
    for path, file in files.items():
        if not _is(file, folder / path):  # the client compares sizes only
            api.hf_hub_download(
                name, path, repo_type=kind, revision=commit, local_dir=folder, force_download=(folder / path).exists()
            )
            if not _is(file, folder / path):
                raise PermixError(f"{api.endpoint} sends a {path} of {name} that differs from its list of files.")


def _send(
    api: "HfApi", kind: str, name: str, files: dict[str, "RepoFile"], folder: Path, message: str, description: str
) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    extra = [path for path in _files(api, kind, name, "main") if path not in files]
    batches = list(_batches(list(files.values())))
    for number, batch in enumerate(batches, 1):
        part = f" ({number} of {len(batches)})" if len(batches) > 1 else ""
        operations: list[Any] = [CommitOperationAdd(file.path, folder / file.path) for file in batch]
        if number == len(batches):
            operations += [CommitOperationDelete(path) for path in extra]
        done = api.create_commit(
            name, operations, repo_type=kind, commit_message=message + part, commit_description=description
        )
    return str(done.oid)


def _batches(files: Sequence["RepoFile"]) -> Iterator[list["RepoFile"]]:
    batch: list[RepoFile] = []
    size = 0
    for file in files:
        size += 0 if file.lfs else file.size
        if batch and size > BODY:
            yield batch
            batch, size = [], 0 if file.lfs else file.size
        batch.append(file)
    yield batch


def _compare(sent: dict[str, "RepoFile"], arrived: dict[str, "RepoFile"], folder: Path, url: str) -> None:
    wrong = sorted(sent.keys() ^ arrived.keys())
    wrong += [path for path in sent.keys() & arrived.keys() if not _is(arrived[path], folder / path)]
    if wrong:
        raise PermixError(f"{url} has different content than was sent: {', '.join(wrong[:5])}.")


def _is(file: "RepoFile", path: Path) -> bool:
    """Return whether the file at `path` has the hash in a Hub's list of files."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    digest = hashlib.sha256() if file.lfs else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with path.open("rb") as content:
        while piece := content.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest() == (file.lfs.sha256 if file.lfs else file.blob_id)
