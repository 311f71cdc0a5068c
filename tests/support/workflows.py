"""Reads the workflows and runs their jobs' commands in order, in the environment that GitHub's runner would give."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = {path.stem: path for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
_TOKEN = re.compile(r"\s*('(?:[^']|'')*'|==|!=|&&|\|\||[!(),]|[\w.-]+)")
_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_HEREDOC = re.compile(r"^(\w+)<<(\S+)\n(.*?)\n\2$|^(\w+)=(.*)$", re.DOTALL | re.MULTILINE)
Contexts = Mapping[str, Any]


def load(name: str) -> dict[str, Any]:
    """One workflow; YAML 1.1 reads its key `on` as true."""
    page: dict[str, Any] = yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in page.items()}


def expressions(value: Any) -> Iterator[str]:
    """Every expression within a part of a workflow."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)
    elif isinstance(value, str):
        yield from (match[1].strip() for match in _EXPRESSION.finditer(value))


def names(expression: str) -> list[str]:
    """The dotted names in an expression, functions left out."""
    tokens = [match[1] for match in _TOKEN.finditer(expression)] + [""]
    return [token for token, after in pairwise(tokens) if re.match(r"[a-z]", token) and after != "("]


_OPERATORS = {"||": "or", "&&": "and", "!": "not"}


def _value(text: str, contexts: Contexts) -> Any:
    """The value of one expression, which Python reads after its operators, texts and names are Python's."""

    def look_up(name: str) -> Any:
        value: Any = contexts
        for part in name.split("."):
            value = value.get(part) or "" if isinstance(value, Mapping) else ""
        return value

    tokens = [match[1] for match in _TOKEN.finditer(text)]
    assert "".join(tokens) == "".join(re.findall(r"'[^']*'|\S", text)), f"not understood: {text}"
    words = [_OPERATORS.get(token, token) for token in tokens]
    for at, token in enumerate(tokens):
        if re.match("[a-z]", token) and token not in _FUNCTIONS:
            words[at] = f"look_up({token!r})"
    return eval(" ".join(words), {"__builtins__": {}, "look_up": look_up, **_FUNCTIONS})


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "fromJSON": json.loads,
    "toJSON": lambda value: json.dumps(value, indent=2),
    "cancelled": lambda: False,
}


def evaluate(value: Any, contexts: Contexts) -> Any:
    """A part of a workflow with the values of its expressions."""
    if isinstance(value, dict):
        return {key: evaluate(inner, contexts) for key, inner in value.items()}
    if not isinstance(value, str):
        return value
    if match := _EXPRESSION.fullmatch(value):
        return _value(match[1], contexts)
    return _EXPRESSION.sub(lambda match: str(_value(match[1], contexts)), value)


@dataclass
class Ran:
    """What became of a job: `ended` is the exit code of its last step; `used` are actions, which do not run here."""

    ended: int = 0
    log: str = ""
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)

    @property
    def messages(self) -> str:
        """The summary as it reads on the page, and what annotates the run."""
        shown = [line for line in self.log.splitlines() if line.startswith(("::error", "::notice", "::warning"))]
        return "\n".join([re.sub(r"\\(.)", r"\1", self.summary), *shown])


def run(
    workflow: str,
    job: str,
    folder: Path,
    *,
    event: Mapping[str, Any],
    secrets: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
    needs: Mapping[str, Any] | None = None,
    matrix: Mapping[str, Any] | None = None,
    cwd: Path = ROOT,
    **environment: str,
) -> Ran:
    """Run the commands of a job until one fails. `folder` is the runner's; packages are installed already."""
    whole = load(workflow)
    page, steps = whole["jobs"][job], dict[str, Any]()
    contexts = {
        "github": {"event": event, "repository_owner": "somebody", "ref": "refs/heads/main"},
        "secrets": secrets or {}, "vars": variables or {}, "needs": needs or {}, "matrix": matrix or {}, "steps": steps,
    }  # fmt: skip
    ran = Ran()
    if "if" in page and not evaluate(page["if"], contexts):
        return ran
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / name.lower() for name in ("GITHUB_EVENT_PATH", "GITHUB_STEP_SUMMARY", "GITHUB_ENV")}
    files["GITHUB_EVENT_PATH"].write_text(json.dumps(event))
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "PERMIX_"))}
    environ |= environment | {"GITHUB_ACTIONS": "true", "PATH": f"{_tools(folder)}{os.pathsep}{os.environ['PATH']}"}
    environ |= {name: str(path) for name, path in files.items()}
    for step in page["steps"]:
        if "uses" in step:
            ran.used.append(step["uses"])
            continue
        output = folder / f"output-{len(ran.used)}-{step['name'].replace(' ', '-')}"
        settings = evaluate(whole.get("env", {}) | page.get("env", {}) | step.get("env", {}), contexts)
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            env=environ | {key: str(value) for key, value in settings.items()} | {"GITHUB_OUTPUT": str(output)},
            cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
        )  # fmt: skip
        ran.log += done.stdout
        ran.ended = done.returncode
        text = output.read_text(encoding="utf-8") if output.exists() else ""
        outputs = {m[1] or m[4]: m[3] if m[1] else m[5] for m in _HEREDOC.finditer(text)}
        steps[step.get("id", step["name"])] = {"outputs": outputs}
        if done.returncode:
            break
    if files["GITHUB_STEP_SUMMARY"].exists():
        ran.summary = files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8")
        files["GITHUB_STEP_SUMMARY"].unlink()
    ran.outputs = evaluate(page.get("outputs", {}), contexts)
    return ran


def _tools(folder: Path) -> Path:
    """The commands that `Install` would have made: permix of this checkout; a pip that installs nothing."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    python = sys.executable
    for name, line in (("permix", f'exec {python} -m permix "$@"'), ("pip", ":"), ("python", f'exec {python} "$@"')):
        (tools / name).write_text(f"#!/bin/sh\n{line}\n")
        (tools / name).chmod(0o755)
    return tools
