"""The runner's child process that runs stages, without Hub and token. Its messages are pickled over a pipe."""

from permix import processes
from permix.pipeline import assignment, ranks


def main(descriptor: int) -> None:
    """Run the assignments from the pipe until it closes."""
    pipe = processes.attach(descriptor)
    samplers = assignment.Samplers()
    while True:
        try:
            received: assignment.Assignment = pipe.recv()
        except EOFError:
            return
        if received.processes > 1:
            samplers.close()  # the ranks need the memory
            pipe.send(ranks.run(received, pipe.send))
        else:
            pipe.send(assignment.run(received, pipe.send, samplers))
