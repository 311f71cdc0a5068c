"""permix overlap: benchmarks in training mixtures."""

from pathlib import Path

import pytest

from tests.support.command_line import permix_here, refused

MIXTURE = "datasets/permix-smoke/permix-mixture-arithmetic-rlvr"


def test_the_problems_that_share_eight_words_are_counted(smoke: Path) -> None:
    printed = permix_here(
        smoke, "overlap", MIXTURE, "--benchmark", "arithmetic", "--benchmark", "arithmetic-long"
    ).stdout
    first, second = printed.splitlines()
    assert first.startswith("arithmetic: ")
    assert " of 500 problems (" in first
    assert second.startswith("arithmetic-long: ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((MIXTURE, "--benchmark", "aritmetic"), "There is no benchmark 'aritmetic': did you mean 'arithmetic'?"),
        (("datasets/permix-smoke/permix-personas", "--benchmark", "arithmetic"), "made by stage personas"),
        ((MIXTURE, "--benchmark", "gsm8k"), "datasets/openai/gsm8k is needed by overlap and is not on"),
    ],
)
def test_bad_input_is_one_sentence(arguments: tuple[str, ...], sentence: str, smoke: Path) -> None:
    (line,) = refused(smoke, "overlap", *arguments, run=permix_here).splitlines()
    assert sentence in line
