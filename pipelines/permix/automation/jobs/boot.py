"""The first program of a Job: `python -c <this file> <path of its bundle on the Hub>`, with Python alone.

It unpacks the bundle, installs the packages that the machine lacks, and becomes `python -m permix …`.
"""

import http.client
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from importlib import metadata
from pathlib import Path


def main(path: str) -> None:
    """Fetch, unpack, install, run."""
    folder = Path(tempfile.mkdtemp(prefix="permix-job-"))
    zipfile.ZipFile(io.BytesIO(fetch(path))).extractall(folder)
    missing = [line for line in json.loads((folder / "requirements.json").read_text()) if not is_installed(line)]
    if missing:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if subprocess.run([*pip, "--root-user-action=ignore", *missing]).returncode:
            sys.exit("permix: pip could not install the packages that permix needs; see the lines above.")
    os.chdir(folder / "files")
    command = [sys.executable, "-m", "permix", *json.loads((folder / "arguments.json").read_text())]
    # Unbuffered, so that the log has each line when it is printed.
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"}
    os.execve(sys.executable, command, environment)  # noqa: S606


def fetch(path: str) -> bytes:
    """Return the bundle, after several tries where the failure may pass; else exit with a sentence."""
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    request = urllib.request.Request(hub + path)  # noqa: S310 - the Hub's own address
    # Unredirected: a large file lies behind a signed address of another host, which must not see the token.
    request.add_unredirected_header("Authorization", f"Bearer {os.environ['HF_TOKEN']}")
    for pause in (1, 4, 16, 64, 0):
        try:
            with urllib.request.urlopen(request, timeout=120) as response:  # noqa: S310
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            failure = f"{hub} answered {error.code}"
            if error.code in (401, 403, 404):
                dataset = path.partition("/resolve/")[0]
                sys.exit(f"permix: {failure} to this Job: its token has expired, or may not read {dataset}.")
        except (OSError, http.client.HTTPException) as error:
            failure = f"{hub} cannot be reached: {error}"
        time.sleep(pause)
    sys.exit(f"permix: {failure}, and this Job needs its bundle from there: start the command again.")


def is_installed(requirement: str) -> bool:
    """Return whether `name==version` is installed; 2.13.0+cpu counts as 2.13.0."""
    name, pinned, version = requirement.partition("==")
    try:
        return bool(pinned) and metadata.version(name).partition("+")[0] == version
    except metadata.PackageNotFoundError:
        return False


if __name__ == "__main__":
    main(sys.argv[1])
