"""`permix doctor`: on this machine, with GPUs that a scripted nvidia-smi names, and with a Hub that refuses."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from permix.commands import doctor
from permix.errors import PermixError
from permix.pipeline import machine, plan, recipes
from tests.support.command_line import permix
from tests.support.servers import Answer, answering

TOKEN = "hf_" + "s" * 34


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts an nvidia-smi that answers this line first on the PATH."""

    def install(line: str) -> None:
        tool = tmp_path / "bin" / "nvidia-smi"
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f"#!/bin/sh\necho '{line}'\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tool.parent), prepend=":")

    return install


def states(name: str, *overrides: str) -> dict[str, list[str]]:
    """{subject: "state: description -> advice" lines} of this machine and the needs of a recipe."""
    steps = plan.build(recipes.load(name, overrides))
    lines: dict[str, list[str]] = {}
    gpus = machine.find_gpus()
    for finding in (*machine.hardware(gpus), *machine.packages(gpus), *machine.needs(steps, gpus)):
        for subject in finding.subject.split(", "):
            lines.setdefault(subject, []).append(f"{finding.state}: {finding.description} -> {finding.advice}")
    return lines


def test_this_machine_can_run_the_smoke_recipe_and_no_hub_is_started(tmp_path: Path) -> None:
    done = permix(tmp_path / "home", "doctor", "--recipe", "smoke")
    lines = {line.split()[1]: line for line in done.stdout.splitlines() if not line.startswith(" ")}
    assert {"python", "cpu", "torch", "sandbox", "recipe", "PERMIX_HOME", "hub"} <= set(lines)
    assert "MISSING" not in done.stdout
    assert "which needs no account" in lines["hub"]
    assert not (tmp_path / "home" / "hub").exists()


def test_what_looks_odd_is_explained_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.doctor("smoke")
    assert "look odd" not in capsys.readouterr().out
    doctor.doctor("smoke", explain=True)
    assert "GRPO's loss begins at 0 and stays near it" in capsys.readouterr().out


def test_a_missing_key_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(PermixError, match=r"lacks what the recipe paper needs: .*rewrites") as failure:
        doctor.doctor("paper")
    assert failure.value.exit_code == 1
    output = capsys.readouterr().out
    assert output.count("OPENAI_API_KEY is not set") == 1
    assert "a GPU" in output
    (line,) = (line for line in output.splitlines() if "OPENAI_API_KEY" in line)
    assert line.startswith("MISSING  rewrites, questions, personagym ")
    assert str(failure.value).count("personagym") == 1


def test_a_t4_is_told_to_use_half_precision(gpu: Callable[[str], None]) -> None:
    gpu("Tesla T4, 15360, 7.5")
    assert states("t4")["gpu"] == ["note: Tesla T4, 15 GB, no bfloat16: use fp16 = true, as recipe t4 does -> "]
    assert not any(line.startswith("missing: asks for bfloat16") for line in states("t4").get("grpo", []))
    assert any(line.startswith("missing: asks for bfloat16") for line in states("single-gpu")["grpo"])


def test_a_large_gpu_has_what_single_gpu_asks_for(gpu: Callable[[str], None]) -> None:
    gpu("NVIDIA A100-SXM4-80GB, 81920, 8.0")
    findings = states("single-gpu")
    assert findings["gpu"] == ["ok: NVIDIA A100-SXM4-80GB, 80 GB, bfloat16 -> "]
    assert findings["memory"][0].startswith("ok: about ")
    assert "of 80 GB of a GPU" in findings["memory"][0]


def test_an_nvidia_smi_that_fails_means_no_gpu(gpu: Callable[[str], None]) -> None:
    gpu("No devices were found")
    assert machine.find_gpus() == []


def test_a_base_that_does_not_fit_is_noted(gpu: Callable[[str], None]) -> None:
    gpu("Tesla T4, 15360, 7.5")
    large = states("single-gpu", "grpo.per_device_train_batch_size=64")["memory"][0]
    assert large.startswith("note: about ")
    assert "names the stage, and what to lower" in large


def answers(path: str) -> Answer:
    """A Hub on which the token of `me` may write, one base is gated and the rest can be read."""
    kind = {"Content-Type": "application/json"}
    if path.startswith("/api/whoami"):
        return 200, json.dumps({"name": "me", "orgs": [], "auth": {"accessToken": {"role": "write"}}}), kind
    if "meta-llama" in path:
        return 403, json.dumps({"error": "gated"}), {"X-Error-Code": "GatedRepo", **kind}
    return 200, "{}", kind


def run_doctor(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    with answering(answers) as (url, seen):
        done = permix(home, "doctor", "--hub", url, *arguments, check=False, HF_TOKEN=TOKEN)
    assert all(header in (None, f"Bearer {TOKEN}") for _, header in seen)
    assert TOKEN not in done.stdout + done.stderr
    return done


def test_on_a_hub_the_token_and_every_input_are_looked_at(tmp_path: Path) -> None:
    done = run_doctor(tmp_path, "--recipe", "laptop", "--set", "org=me")
    assert done.returncode == 0, done.stdout + done.stderr
    parts = ("may write to me on http://127.0.0.1", "Qwen/Qwen2.5-0.5B-Instruct can be read", "datasets/openai/gsm8k@")
    assert [part for part in parts if part not in done.stdout] == []


def test_a_gated_base_and_a_foreign_org_are_missing(tmp_path: Path) -> None:
    done = run_doctor(tmp_path, "--recipe", "t4")
    assert done.returncode == 1
    output = " ".join(done.stdout.split())
    assert "MISSING input Could not read meta-llama/Llama-3.2-1B-Instruct. It is gated" in output
    assert "MISSING token me may not write to 'permix'" in output
    assert "permix: This machine lacks what the recipe t4 needs: token, input." in done.stderr
