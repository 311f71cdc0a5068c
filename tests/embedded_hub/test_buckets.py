"""Buckets, and the scripts that clients send to Jobs through them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from embedded_hub import launch
from embedded_hub.upkeep import fsck
from tests.support.wire import Wire

SUBMIT = """
import sys
from huggingface_hub import HfApi
api = HfApi()
job = api.run_uv_job(sys.argv[1], script_args=sys.argv[2:], env={"RESULTS": "/data/results"})
print("".join(list(api.fetch_job_logs(job_id=job.id, follow=True))[1:]))
print(api.inspect_job(job_id=job.id).status.stage, job.volumes[0].source if job.volumes else None)
"""
SCRIPT = """
# /// script
# dependencies = ["huggingface_hub>=1", "{}"]
# ///
import os, pathlib, sys
print("settings say", pathlib.Path(sys.argv[1]).read_text(), "and not /database")
pathlib.Path(os.environ["RESULTS"]).write_text("42")
"""


@pytest.fixture
def wire(working: launch.Running) -> Wire:
    return Wire.to(working)


def submitted(working: launch.Running, folder: Path, *arguments: str) -> str:
    """The output of a stock client that sends a script to a Job by Xet and follows it."""
    environment = launch.environment(working, folder / "home")
    environment.pop("HF_HUB_DISABLE_XET", None)
    done = subprocess.run(
        [sys.executable, "-c", SUBMIT, *arguments],
        env=environment, cwd=folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_local_script_runs_as_a_job_with_its_files(working: launch.Running, wire: Wire, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT.format("packaging"))
    (tmp_path / "settings.toml").write_text("hot")
    printed = submitted(working, tmp_path, "train.py", "settings.toml")
    assert "settings say hot and not /database" in printed
    assert printed.endswith("COMPLETED permix/jobs-artifacts\n")
    api = HfApi(endpoint=working.url, token=working.token)
    files = {
        file.path.partition("/")[2]: file for file in api.list_bucket_tree("permix/jobs-artifacts", recursive=True)
    }
    assert {"train.py", "settings.toml", "results"} < files.keys()
    results = files["results"].path
    assert wire("GET", f"/buckets/permix/jobs-artifacts/resolve/{results}").body == b"42"
    assert [file.size for file in api.get_bucket_paths_info("permix/jobs-artifacts", [results, "none"])] == [2]
    about = api.bucket_info("permix/jobs-artifacts")
    assert (about.private, about.total_files) == (True, 3)
    assert not fsck.check(working.root).findings


def test_a_script_names_its_missing_packages_and_a_url_is_fetched(working: launch.Running, tmp_path: Path) -> None:
    api = HfApi(endpoint=working.url, token=working.token)
    api.create_repo("lab/scripts")
    for name, package in (("good.py", "packaging"), ("bad.py", "packaging>1000,<1001")):
        program = SCRIPT.format(package).replace("pathlib.Path(sys.argv[1]).read_text()", "sys.argv[1]")
        program = program.replace('os.environ["RESULTS"]', '"out"')
        api.upload_file(path_or_fileobj=program.encode(), path_in_repo=name, repo_id="lab/scripts")
    url = f"{working.url}/lab/scripts/resolve/main"
    assert "settings say x and" in submitted(working, tmp_path, f"{url}/good.py", "x")
    printed = submitted(working, tmp_path, f"{url}/bad.py", "x")
    assert f"{url}/bad.py needs packaging>1000,<1001 (there is" in printed
    assert printed.endswith("ERROR None\n")
    assert "Traceback" not in printed


def test_private_buckets_are_hidden_and_nothing_leads_out_of_them(working: launch.Running, wire: Wire) -> None:
    api = HfApi(endpoint=working.url, token=working.token)
    assert api.create_bucket("lab/secret", private=True).bucket_id == "lab/secret"
    assert api.create_bucket("lab/secret", exist_ok=True).bucket_id == "lab/secret"
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_bucket("lab/secret")
    stranger = Wire(wire.port, None)
    assert stranger("GET", "/buckets/lab/secret/resolve/x").status == 401
    hash_ = "a" * 64
    for path in ("../x", "/etc/passwd", "a/../../x", "", ".git/x"):
        line = json.dumps({"type": "addFile", "path": path, "xetHash": hash_, "mtime": 1}).encode()
        assert wire("POST", "/api/buckets/lab/secret/batch", line).status == 400
        assert wire("GET", f"/buckets/lab/secret/resolve/{path}").status in (400, 404)
    line = json.dumps({"type": "addFile", "path": "x", "xetHash": hash_, "mtime": 1}).encode()
    answer = wire("POST", "/api/buckets/lab/secret/batch", line)
    assert (answer.status, answer.json["failed"]) == (422, [{"path": "x", "error": "No such file or directory"}])
    folder = max((working.root / "buckets").iterdir(), key=lambda path: int(path.name))
    (folder / "files" / "out").symlink_to("/etc")
    assert wire("GET", "/buckets/lab/secret/resolve/out/passwd").status == 403
    job = {"command": ["ls"], "dockerImage": "x"}
    for volume, status in (
        ({"source": "lab/none", "mountPath": "/data"}, 404), ({"source": "lab/secret", "mountPath": "data"}, 400),
        ({"source": "lab/secret", "mountPath": "/data", "path": "/etc"}, 400),
        ({"source": "lab/secret", "mountPath": "/data", "path": "a/../.."}, 400),
    ):  # fmt: skip
        assert wire("POST", "/api/jobs/permix", job | {"volumes": [{"type": "bucket", **volume}]}).status == status
    api.delete_bucket("lab/secret")
    assert not folder.exists()
