"""Download large files so that an interrupted download resumes inside a file, which the Hub's client does not."""

import errno
import fcntl
import hashlib
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from permix.errors import PermixError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LARGE = 20_000_000
"""Bytes from which a file is downloaded here."""
EVERY = 10.0
"""Seconds between two lines of progress."""
GB = 1e9
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a write to a full disk."""


@dataclass(frozen=True)
class LargeFile:
    """A file of a repository and where its content belongs on this machine."""

    path: str
    sha256: str
    size: int
    target: Path

    @property
    def part(self) -> Path:
        """The file with the bytes that have arrived."""
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def arrived(self) -> int:
        """The number of bytes that have arrived."""
        return self.part.stat().st_size if self.part.is_file() else 0


def large_files(api: "HfApi", kind: str, name: str, commit: str, files: Sequence[LargeFile]) -> None:
    """Download the files of at least LARGE bytes that are missing, each to its target.

    Files in Xet storage are left to the Hub's client where it can read them, because it is faster. PermixError for a
    full disk and for content that differs from the Hub's list.
    """
    missing = [file for file in files if file.size >= LARGE and not file.target.exists()]
    if not missing:
        return
    _check_disk(name, missing)
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import is_xet_available  # type: ignore[attr-defined]

    for file in missing:
        url = hf_hub_url(name, file.path, repo_type=kind, revision=commit, endpoint=api.endpoint)
        if is_xet_available() and get_hf_file_metadata(url, token=api.token, endpoint=api.endpoint).xet_file_data:
            return
        _download(api, url, name, file)


def _check_disk(name: str, files: Sequence[LargeFile], *, full: bool = False) -> None:
    """Raise PermixError if the disk is too small for the rest of the files, or a write has shown that it is `full`."""
    needed = sum(file.size - file.arrived for file in files)
    folder = next(path for path in files[0].target.parents if path.exists())
    if full or needed > shutil.disk_usage(folder).free:
        raise PermixError(
            f"{name} needs {needed / GB:.1f} GB more on the disk of {folder}, and "
            f"{shutil.disk_usage(folder).free / GB:.1f} GB are free: make room, or choose another disk with "
            "PERMIX_HOME (HF_HOME for huggingface.co)."
        )


def _download(api: "HfApi", url: str, name: str, file: LargeFile) -> None:
    import httpx2
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    logging.getLogger("huggingface_hub.file_download").setLevel(logging.ERROR)  # two lines for each retry
    file.part.parent.mkdir(parents=True, exist_ok=True)
    with file.part.open("ab") as part:
        fcntl.flock(part, fcntl.LOCK_EX)  # another process may be downloading it
        if file.target.exists():
            return
        if file.arrived > file.size:
            part.truncate(0)
        if arrived := file.arrived:
            print(f"Resuming {file.path} of {name} at {arrived / file.size:.0%}.", file=sys.stderr)
        lines: Any = type("Lines", (_Lines,), {"label": f"{file.path} of {name}"})
        headers = build_hf_headers(token=api.token)
        try:
            http_get(url, part, resume_size=arrived, headers=headers, expected_size=file.size, tqdm_class=lines)
            part.flush()
        except httpx2.TransportError:
            part.flush()
            raise PermixError(
                f"{file.path} of {name} arrived up to {file.arrived / file.size:.0%}, then {api.endpoint} stopped "
                "answering: check the network. The same command resumes."
            ) from None
        except OSError as error:
            _check_disk(name, [file], full=error.errno in FULL)
            raise
        with file.part.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != file.sha256:
                file.part.unlink()
                raise PermixError(f"{file.path} of {name} arrived damaged: run the command again.")
        file.part.replace(file.target)


@dataclass
class _Lines:
    """The progress bar of a download: a line on stderr every ten seconds."""

    label = ""
    total: int
    initial: int
    desc: str = ""
    unit: str = ""
    unit_scale: bool = True
    _started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._printed, self._arrived = self._started, self.initial

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def update(self, size: int) -> None:
        """Count `size` more bytes."""
        self._arrived += size
        now = time.monotonic()
        if now - self._printed >= EVERY:
            self._printed = now
            rate = (self._arrived - self.initial) / (now - self._started)
            left = f", {(self.total - self._arrived) / rate:.0f} s left" if rate > 0 else ""
            amounts = f"{self._arrived / GB:.2f} of {self.total / GB:.2f} GB, {rate / 1e6:.1f} MB/s"
            print(f"         {self.label}: {amounts}{left}", file=sys.stderr, flush=True)
