"""permix theory and permix claims, on what recipe smoke publishes."""

import json
import re
import sys
from pathlib import Path

from tests.support.command_line import permix, permix_here, refused

BASE, TRAINED = (f"datasets/permix-smoke/permix-sweep-permix-toy-{name}" for name in ("base", "permix-rlvr"))


def test_a_prediction_needs_only_the_base(smoke: Path) -> None:
    output = permix_here(smoke, "theory", BASE, "--beta", "0.5").stdout
    assert output.startswith("arithmetic\n  at beta 0.5: worst ")
    assert "arithmetic-long\n" in output
    assert "semiconductor specialist" in output
    assert "Proposition 1 (the paper's section 3.3" in output
    assert "at beta: the accuracy that this predicts" in output
    assert "the trained sweep" not in output


def test_a_trained_sweep_is_fitted_and_its_styles_compared(smoke: Path) -> None:
    fitted = json.loads(permix_here(smoke, "theory", BASE, "--trained", TRAINED, "--beta", "0.5", "--json").stdout)
    assert set(fitted) == {"arithmetic", "arithmetic-long"}
    assert {"prediction", "fit"} <= set(fitted["arithmetic"])
    assert len(fitted["arithmetic"]["fit"]["personas"]) == 16
    output = permix_here(smoke, "theory", BASE, "--trained", TRAINED).stdout
    assert "one shift for all personas: p = " in output
    assert "largest misfit of a persona" in output


def test_what_it_cannot_use_is_refused_in_one_sentence(smoke: Path) -> None:
    for arguments, sentence in (
        ([BASE], "Give --beta, to predict, or --trained, to fit it (or both)."),
        ([TRAINED, "--beta", "1"], "is a sweep of permix-rlvr: theory starts from the base's."),
        ([BASE, "--trained", BASE], "is a sweep of a base too"),
        ([BASE, "--beta", "0"], "beta is 0: Proposition 1 needs a KL term"),
        (["permix-smoke/permix-toy-rlvr", "--beta", "1"], "was made by stage grpo"),
    ):
        (line,) = refused(smoke, "theory", *arguments, run=permix_here).splitlines()
        assert sentence in line


def test_claims_without_an_artifact_are_the_papers_own(smoke: Path) -> None:
    output = permix_here(smoke, "claims").stdout
    assert output.startswith("Each statement of the paper, the formula")
    assert "with its 95 % interval" in output
    assert output.count("    paper: ") == 25
    assert "ours:" not in output
    assert "[pss of permix-rlvr - rlvr, math500: +0.143, " in output
    assert max(map(len, output.splitlines())) <= 120


def test_claims_of_an_artifact_show_both_verdicts(smoke: Path) -> None:
    output = permix_here(smoke, "claims", "datasets/permix-smoke/permix-tables").stdout
    assert "arithmetic stands for GSM8K" in output
    assert output.count("    ours:  ") == 25
    assert "ours:  not measured" in output
    assert re.search(r"ours:  fails, inside the noise \[\w+ of .*? to [-+]\d\.\d+(, p \d\.\d+)?\]", output)
    assert "give an artifact of stage tables" in refused(smoke, "claims", BASE, run=permix_here)


def test_the_papers_values_load_with_stock_datasets(smoke: Path) -> None:
    code = (
        "from datasets import load_dataset; rows = load_dataset('permix-smoke/permix-tables', 'paper', split='test'); "
        "print([r['printed'] for r in rows if (r['table'], r['row'], r['benchmark'], r['measure']) == "
        "('3', 'seqkd-gemma3-27b', 'math500', 'worst')])"
    )
    assert permix(smoke, "hub", "exec", "--", sys.executable, "-c", code).stdout.splitlines()[-1] == "[31.7]"
