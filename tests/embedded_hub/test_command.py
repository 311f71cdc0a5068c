"""`permix hub`: import, exec, token."""

import sys
from pathlib import Path

import pytest

from tests.support.cases import cases
from tests.support.hub_command import permix_hub


def test_import_makes_a_repository_of_a_folder_and_again_changes_nothing(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"x": 1}\n{"x": 2}\n')
    (folder / "old.txt").write_text("old")
    first = permix_hub(home, "import", str(folder), "datasets/lab/rows")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("datasets/lab/rows@")
    assert permix_hub(home, "import", str(folder), "datasets/lab/rows").stdout == first.stdout
    (folder / "old.txt").unlink()
    assert permix_hub(home, "import", str(folder), "datasets/lab/rows").stdout != first.stdout
    program = (
        "from huggingface_hub import HfApi; import datasets; rows = datasets.load_dataset('lab/rows')['train'];"
        "print(HfApi().list_repo_files('lab/rows', repo_type='dataset'), rows['x'][:])"
    )
    shown = permix_hub(home, "exec", "--", sys.executable, "-c", program)
    assert shown.stdout.splitlines()[-1] == "['.gitattributes', 'train.jsonl'] [1, 2]", shown.stderr


def test_exec_passes_exit_codes_on_and_hides_the_real_token(home: Path) -> None:
    program = "import os, sys; print(os.environ['HF_TOKEN'], os.environ.get('HF_HUB_OFFLINE')); sys.exit(7)"
    child = permix_hub(home, "exec", "--", sys.executable, "-c", program, HF_TOKEN="hf_real", HF_HUB_OFFLINE="1")
    token = permix_hub(home, "token").stdout.strip()
    assert (child.returncode, child.stdout.split()) == (7, [token, "0"])
    assert permix_hub(home, "exec", "--", "sh", "-c", "kill -9 $$").returncode == 137
    missing = permix_hub(home, "exec", "--", "no-such-command-at-all")
    assert missing.returncode == 2
    assert missing.stderr == "permix: There is no command 'no-such-command-at-all': check its name, or install it.\n"


def test_tokens_are_made_used_and_revoked(home: Path) -> None:
    token = permix_hub(home, "token", "--new", "ann", "--role", "write", "--org", "team").stdout.strip()
    assert token.startswith("hf_")
    assert permix_hub(home, "token", "--new", "ann").returncode == 2
    assert permix_hub(home, "token", "--new", "bob", "--role", "king").returncode == 2
    program = (
        f"import huggingface_hub; me = huggingface_hub.whoami('{token}'); print(me['name'], me['orgs'][0]['name'])"
    )
    assert permix_hub(home, "exec", "--", sys.executable, "-c", program).stdout.split() == ["ann", "team"]
    assert permix_hub(home, "token", "--revoke", "ann").returncode == 0
    assert permix_hub(home, "token", "--revoke", "ann").returncode == 2
    assert permix_hub(home, "exec", "--", sys.executable, "-c", program).returncode == 1


@pytest.mark.parametrize(("repo", "files", "sentence"), cases(__file__)["failed imports"])
def test_an_import_that_fails_is_one_sentence(
    home: Path, tmp_path: Path, repo: str, files: dict[str, str] | None, sentence: str
) -> None:
    for name, text in (files or {}).items():
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_text(text)
    refused = permix_hub(home, "import", str(tmp_path / "in"), repo)
    assert refused.returncode in (1, 2)
    assert "Traceback" not in refused.stderr
    assert any(part in refused.stderr for part in sentence.split("|")), refused.stderr


def test_real_benchmarks_are_imported_and_load_under_their_own_names(home: Path, shared: Path) -> None:
    for name in ("openai/gsm8k", "HuggingFaceH4/MATH-500"):
        done = permix_hub(home, "import", str(shared / "data" / name), f"datasets/{name}")
        assert done.returncode == 0, done.stderr
    program = (
        "from datasets import load_dataset; print(load_dataset('openai/gsm8k', 'main', split='test').num_rows,"
        "load_dataset('HuggingFaceH4/MATH-500', split='test').num_rows)"
    )
    assert permix_hub(home, "exec", "--", sys.executable, "-c", program).stdout.split()[-2:] == ["1319", "500"]
