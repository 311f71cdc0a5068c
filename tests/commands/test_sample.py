"""permix sample: what is printed where, which persona a text names, and errors of one sentence."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from permix.commands import sample
from permix.errors import BadInput
from permix.pipeline import recipes
from permix.prompting import persona
from permix.sampling.sampler import Sampling
from tests.support.cases import cases
from tests.support.command_line import environment_of, permix_here
from tests.support.faulty_server import Answer, Asked, FaultyServer, completion

PLAN = recipes.load("smoke")
QUESTION = "Tom has 3 pens. He buys 4 pens. How many pens does Tom have?"


def keys(*texts: str) -> list[str]:
    return [p.key for p in sample._personas(PLAN, texts, None)]


def test_a_persona_is_a_key_several_keys_or_a_text() -> None:
    assert keys("dumb", "none") == ["dumb", "none"]
    assert keys("math expert, dumb") == ["math expert", "dumb"]
    [own] = sample._personas(PLAN, ["You are lazy, slow and rude."], None)
    assert own.system_prompt == "You are lazy, slow and rude."
    assert sample._personas(PLAN, ["dumb"], None) == [p for p in persona.bundled("eval") if p.key == "dumb"]


def test_the_error_of_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"The persona 'dum' is unknown: did you mean 'dumb'\?"):
        keys("dum")


def test_an_empty_question_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(BadInput, match="The question is empty"):
        sample.sample(" ")


def test_sampling_is_the_recipes_own_unless_given() -> None:
    assert sample._sampling(PLAN, None, None).max_tokens == PLAN.settings("sweep")["max_tokens"]
    sampling = sample._sampling(PLAN, 0.0, 7)
    assert (sampling.temperature, sampling.max_tokens) == (0.0, 7)


def test_another_model_gets_the_sampling_of_sweeps_and_room_for_a_real_answer() -> None:
    assert PLAN.settings("sweep")["max_tokens"] < 100
    assert sample._sampling(PLAN, None, None, []) == Sampling(temperature=0.6, top_p=0.9, max_tokens=512)
    changed = recipes.load("smoke", ["sweep.max_tokens=99"])
    assert sample._sampling(changed, None, None, ["sweep.max_tokens=99"]).max_tokens == 99
    real = recipes.load("single-gpu")
    assert sample._sampling(real, None, None, []).max_tokens == real.settings("sweep")["max_tokens"]


def test_an_answer_that_is_cut_is_named_on_stderr(smoke: Path) -> None:
    command = ["sample", QUESTION, "--recipe", "smoke", "--max-tokens", "1"]
    assert permix_here(smoke, *command).stderr == "permix-rlvr as none:\ncut at 1 tokens: --max-tokens N\n"
    several = permix_here(smoke, *command, "--persona", "dumb,none")
    assert several.stderr == "cut at 1 tokens: --max-tokens N\n" * 2
    screen = on_a_terminal(smoke, *command, "--persona", "dumb,none", "--compare", stderr=True)
    assert "\nnone, permix-rlvr: cut at 1 tokens: --max-tokens N\r\n" in screen


def test_published_variants_answer_on_stdout_and_side_by_side_on_a_terminal(smoke: Path) -> None:
    command = ["sample", QUESTION, "--recipe", "smoke", "--temperature", "2"]
    single = permix_here(smoke, *command, "--persona", "dumb")
    assert single.stdout.strip()
    assert single.stdout.endswith("\n")
    assert single.stderr.splitlines()[0] == "permix-rlvr as dumb:", "the recipe's last variant is the default"

    several = [*command, "--persona", "dumb,none", "--variant", "base,permix-rlvr", "--compare"]
    plain = permix_here(smoke, *several).stdout
    blocks = dict(block.split("\n", 1) for block in plain.removeprefix("## ").split("\n## "))
    assert list(blocks) == ["dumb, base", "none, base", "dumb, permix-rlvr", "none, permix-rlvr"]
    assert blocks["dumb, permix-rlvr"].strip() == single.stdout.strip()
    assert blocks["dumb, permix-rlvr"].strip() != blocks["none, permix-rlvr"].strip()

    screen = on_a_terminal(smoke, *several)
    assert max(map(len, screen.splitlines())) <= 80
    assert re.search("persona.*base.*permix-rlvr", screen)
    assert blocks["none, base"].split()[0] in screen


def on_a_terminal(home: Path, *arguments: str, stderr: bool = False) -> str:
    """Return what the command shows on a terminal of 80 columns, with or without its stderr."""
    ours, theirs = pty.openpty()
    environment = environment_of(home, COLUMNS="80", TERM="dumb")
    command = [sys.executable, "-m", "permix", *arguments]
    with subprocess.Popen(command, env=environment, stdout=theirs, stderr=theirs if stderr else None, cwd=home):
        os.close(theirs)
        screen = b""
        try:
            while part := os.read(ours, 65536):
                screen += part
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    return screen.decode()


def test_the_error_of_something_not_published_is_one_sentence(smoke: Path) -> None:
    for more, sentence in (
        (["--set", "tag=none"], "permix-smoke/permix-toy-permix-rlvr-none is not on http"),
        (["--adapter", "org/nothing"], "org/nothing is not on http"),
        (["--base", "org/nothing"], "`permix hub import FOLDER org/nothing` puts a local copy there"),
        (["--base", "org/nothing"], "org/nothing is not on http"),
        (["--variant", "rlvrr"], "There is no variant 'rlvrr'"),
    ):
        done = permix_here(smoke, "sample", QUESTION, "--recipe", "smoke", *more, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("permix: ")
        assert sentence in done.stderr


def test_a_server_answers_instead_and_gets_its_key(tmp_path: Path) -> None:
    def script(call: Asked) -> Answer:
        messages = call.body["messages"]
        finish = "length" if len(messages) > 1 else "stop"
        return completion(f"{len(messages)} messages to {call.body['model']}", finish)

    with FaultyServer(script) as server:
        options = ["--endpoint", server.url, "--model", "good-model", "--key", "MY_KEY"]
        done = permix_here(tmp_path, "sample", "Why?", *options, "--persona", "none,dumb", MY_KEY="sk-1")
    assert done.stdout == (
        "## none, good-model\n1 messages to good-model\n\n## dumb, good-model\n2 messages to good-model\n"
    )
    assert done.stderr == "cut at 512 tokens: --max-tokens N\n"
    assert {a.headers["authorization"] for a in server.asked} == {"Bearer sk-1"}
    assert {a.body["max_tokens"] for a in server.asked} == {512}


@pytest.mark.parametrize(("arguments", "sentence"), cases(__file__)["refusals"])
def test_bad_input_is_one_sentence(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    done = permix_here(tmp_path, "sample", "Why?", *arguments, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"permix: {sentence}")
    assert done.stderr.count("\n") == 1
