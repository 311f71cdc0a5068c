"""`git` as a client; the battery runs the libraries."""

import subprocess
from pathlib import Path

from huggingface_hub import HfApi

from embedded_hub.launch import Running


def test_git_clones_with_a_token_and_may_not_push(running: Running, api: HfApi, name: str, tmp_path: Path) -> None:
    api.create_repo(name, private=True)
    api.upload_file(path_or_fileobj=b"text", path_in_repo="d/a.txt", repo_id=name)
    address = f"{running.url}/{name}".replace("http://", f"http://user:{running.token}@")

    def git(*words: str) -> "subprocess.CompletedProcess[str]":
        environment = {"PATH": "/usr/bin:/bin", "GIT_TERMINAL_PROMPT": "0", "HOME": str(tmp_path), "LC_ALL": "C"}
        return subprocess.run(["git", *words], cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert git("clone", f"{running.url}/{name}", "stranger").returncode != 0
    assert git("clone", address, "mine").returncode == 0
    assert (tmp_path / "mine" / "d" / "a.txt").read_text() == "text"
    assert git("-C", "mine", "fsck", "--strict").returncode == 0
    assert git("clone", "--filter=blob:none", address, "partial").returncode == 0
    assert (tmp_path / "partial" / "d" / "a.txt").read_text() == "text"
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    assert git("-C", "mine", *identity, "commit", "--allow-empty", "-m", "more").returncode == 0
    assert "403" in git("-C", "mine", "push").stderr
