"""What a Job runs first: `python -c <this file> <path of its bundle on the Hub>`, with nothing but Python there yet.

It unpacks the bundle, installs what the machine lacks, and becomes `python -m permix …`.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from importlib import metadata
from pathlib import Path


def main(path: str) -> None:
    """Fetch, unpack, install, run."""
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    request = urllib.request.Request(hub + path)  # noqa: S310 - the Hub's own address
    # Unredirected: a large file lies behind a signed address of another host, which must not see the token.
    request.add_unredirected_header("Authorization", f"Bearer {os.environ['HF_TOKEN']}")
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
        bundle = zipfile.ZipFile(io.BytesIO(answer.read()))
    folder = Path(tempfile.mkdtemp(prefix="permix-job-"))
    bundle.extractall(folder)
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


def installed(requirement: str) -> bool:
    """Whether `name==version` is there already; 2.13.0+cpu is 2.13.0."""
    name, pinned, version = requirement.partition("==")
    try:
        return bool(pinned) and metadata.version(name).partition("+")[0] == version
    except metadata.PackageNotFoundError:
        return False


if __name__ == "__main__":
    main(sys.argv[1])
