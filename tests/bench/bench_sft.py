"""An SFT step of stage sft against the same step in a bare TRL script."""

from collections.abc import Iterator

from tests.bench.row import Row
from tests.bench.trainers import compare


def rows() -> Iterator[Row]:
    """32 rows a step."""
    yield from compare(
        "sft", "permix-sft-gold", {"per_device_train_batch_size": 32, "max_length": 1024, "learning_rate": 1e-3}
    )
