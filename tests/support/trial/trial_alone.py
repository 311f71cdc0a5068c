"""The same stage, with every core for itself."""

from dataclasses import replace

from permix.stages import trial  # type: ignore[attr-defined]

STAGE = replace(trial.STAGE, name="trial_alone", all_cores=True)
