"""Copying a repository from one Hub to another. Both sides are reached through the same client, with its own token."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from permix.errors import BadInput, PermixError

if TYPE_CHECKING:
    from huggingface_hub import HfApi, RepoFile

BODY = 100_000_000
"""Bytes of ordinary files in one commit: real Hubs refuse more, so the largest repositories arrive in several."""


@dataclass(frozen=True)
class Side:
    """A Hub, and the token for it alone; None for none."""

    url: str
    token: str | None

    def api(self) -> "HfApi":
        """A client of it."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.url, token=self.token or False)


def address(url: str) -> str:
    """`url` without what is too much at its end; BadInput when it is no address of a Hub."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise BadInput(f"{url!r} is no address of a Hub: it should be like https://huggingface.co.")
    return url.rstrip("/")


def token_for(url: str) -> str | None:
    """The user's own token, if it belongs to the Hub at `url`: to the one that HF_ENDPOINT names, or huggingface.co."""
    environment = os.environ
    if (environment.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/") != url:
        return None
    token = environment.get("HF_TOKEN") or environment.get("HUGGING_FACE_HUB_TOKEN")
    cache = Path(environment.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    path = Path(environment.get("HF_TOKEN_PATH") or Path(environment.get("HF_HOME") or cache) / "token").expanduser()
    return token or (path.read_text().strip() if path.is_file() else None) or None


def copy(kind: str, name: str, revision: str, source: Side, target: Side, work: Path) -> str:
    """Make the target's repository hold exactly the files of the source's `revision`; returns `name@commit` there.

    The source's commit stands in the commit's message and in the tag `mirror-of-<commit>`. Files are kept under
    `work` until all have arrived, so that an interrupted copy goes on. PermixError when one side refuses, cannot be
    reached, or ends up with other content.
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
    there, here = source.api(), target.api()
    info: Any = there.repo_info(name, repo_type=kind, revision=revision)
    wanted = _files(there, kind, name, info.sha)
    folder = work / f"{kind}--{name.replace('/', '--')}--{info.sha}"
    _fetch(there, kind, name, info.sha, wanted, folder)
    sdk = info.sdk if kind == "space" else None
    here.create_repo(name, repo_type=kind, private=bool(info.private), space_sdk=sdk, exist_ok=True)
    full = {"model": "", "dataset": "datasets/", "space": "spaces/"}[kind] + name
    message, description = f"Mirror of {full}@{info.sha[:12]}", f"{source.url}/{full}@{info.sha}"
    commit = _send(here, kind, name, wanted, folder, message, description)
    _compare(wanted, _files(here, kind, name, commit), folder, target.url)
    here.create_tag(name, tag=f"mirror-of-{info.sha}", revision=commit, repo_type=kind, exist_ok=True)
    shutil.rmtree(folder)
    return f"{full}@{commit}"


def _files(api: "HfApi", kind: str, name: str, commit: str) -> dict[str, "RepoFile"]:
    from huggingface_hub import RepoFile

    tree = api.list_repo_tree(name, recursive=True, revision=commit, repo_type=kind)
    return {one.path: one for one in tree if isinstance(one, RepoFile)}


def _fetch(api: "HfApi", kind: str, name: str, commit: str, wanted: dict[str, "RepoFile"], folder: Path) -> None:
    """Bring every file into `folder`; those that an earlier attempt brought are not fetched again."""
    folder.mkdir(parents=True, exist_ok=True)
    api.snapshot_download(name, repo_type=kind, revision=commit, local_dir=folder)
    for path, file in wanted.items():
        if not _is(file, folder / path):  # the client compares sizes only
            api.hf_hub_download(
                name, path, repo_type=kind, revision=commit, local_dir=folder, force_download=(folder / path).exists()
            )
            if not _is(file, folder / path):
                raise PermixError(f"{api.endpoint} gives a {path} of {name} that is not the one in its list of files.")


def _send(
    api: "HfApi", kind: str, name: str, wanted: dict[str, "RepoFile"], folder: Path, message: str, description: str
) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    extra = [path for path in _files(api, kind, name, "main") if path not in wanted]
    batches = list(_batches(list(wanted.values())))
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


def _compare(wanted: dict[str, "RepoFile"], arrived: dict[str, "RepoFile"], folder: Path, url: str) -> None:
    wrong = sorted(wanted.keys() ^ arrived.keys())
    wrong += [path for path in wanted.keys() & arrived.keys() if not _is(arrived[path], folder / path)]
    if wrong:
        raise PermixError(f"{url} has other content than what was sent: {', '.join(wrong[:5])}.")


def _is(file: "RepoFile", path: Path) -> bool:
    """Whether the file at `path` has the content that a Hub's list of files names by its hash."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    digest = hashlib.sha256() if file.lfs else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with path.open("rb") as content:
        while piece := content.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest() == (file.lfs.sha256 if file.lfs else file.blob_id)
