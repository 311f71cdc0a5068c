"""What a Job runs first: `python -c <this file> <path of its bundle on the Hub>`, with nothing but Python there yet.

It unpacks the bundle, installs what the machine lacks, and becomes `python -m permix …`.
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
    zipfile.ZipFile(io.BytesIO(fetched(path))).extractall(folder)
    missing = [line for line in json.loads((folder / "requirements.json").read_text()) if not installed(line)]
    if missing:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if subprocess.run([*pip, "--root-user-action=ignore", *missing]).returncode:
            sys.exit("permix: pip could not install what permix needs; see above.")
    os.chdir(folder / "files")
    command = [sys.executable, "-m", "permix", *json.loads((folder / "arguments.json").read_text())]
    # Unbuffered: who follows the log sees a line when it is said.
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"}
    os.execve(sys.executable, command, environment)  # noqa: S606


def fetched(path: str) -> bytes:
    """The bundle; ends with a sentence where the Hub does not give it, after some tries where that may pass."""
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    request = urllib.request.Request(hub + path)  # noqa: S310 - the Hub's own address
    # Unredirected: a large file lies behind a signed address of another host, which must not see the token.
    request.add_unredirected_header("Authorization", f"Bearer {os.environ['HF_TOKEN']}")
    for pause in (1, 4, 16, 64, 0):
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            why = f"{hub} answered {error.code}"
            if error.code in (401, 403, 404):
                dataset = path.partition("/resolve/")[0]
                sys.exit(f"permix: {why} to this Job: its token has expired, or may not read {dataset}.")
        except (OSError, http.client.HTTPException) as error:
            why = f"{hub} cannot be reached: {error}"
        time.sleep(pause)
    sys.exit(f"permix: {why}, so that this Job has nothing to run: start it again.")


def installed(requirement: str) -> bool:
    """Whether `name==version` is there already; 2.13.0+cpu is 2.13.0."""
    name, pinned, version = requirement.partition("==")
    try:
        return bool(pinned) and metadata.version(name).partition("+")[0] == version
    except metadata.PackageNotFoundError:
        return False


if __name__ == "__main__":
    main(sys.argv[1])
