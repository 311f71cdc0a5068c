"""permix selectors: what choosing or combining personas at inference time would bring, from a stored sweep."""

from permix.commands import options
from permix.errors import BadInput


def selectors(artifact: options.Artifact, hub: options.Hub = None) -> None:
    """Say what persona selectors, majorities and oracles reach on a sweep, with completions and tokens beside it."""
    from permix import chain
    from permix import hub as hubs
    from permix.results import selectors as selecting
    from permix.stages import sweep

    place = hubs.connect(hub)
    head = chain.find(artifact, place)
    assert head.record is not None
    if "summary" not in head.record["facts"]:
        raise BadInput(f"{head.repo} was made by stage {head.record['stage']}: give a sweep.")
    folder = place.fetch(head)
    for benchmark in head.record["facts"]["summary"]["benchmarks"]:
        print(f"{benchmark}\n{'selector':26}{'accuracy':>9}{'95 % interval':>18}{'completions':>13}{'tokens':>9}")
        for line in selecting.of_rows(sweep.read(folder, benchmark)):
            ends = f"{line['low']:.3f} to {line['high']:.3f}"
            tokens = "-" if line["tokens"] is None else f"{line['tokens']:.0f}"
            print(f"{line['selector']:26}{line['accuracy']:9.3f}{ends:>18}{line['completions']:13}{tokens:>9}")
    print("Completions and tokens are for one problem; best of k has an oracle pick the right answer: an upper bound.")
