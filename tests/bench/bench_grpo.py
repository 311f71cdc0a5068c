"""A GRPO step of stage grpo against the same step in a bare TRL script with TRL's own reward."""

from collections.abc import Iterator

from tests.bench.row import Row
from tests.bench.trainers import compare


def rows() -> Iterator[Row]:
    """64 completions a step."""
    settings = {"per_device_train_batch_size": 64, "num_generations": 8, "max_completion_length": 64}
    yield from compare("grpo", "permix-rlvr", {**settings, "learning_rate": 3e-3})
