"""A child process that runs stages. It gets folders and gives facts; it knows no Hub and holds no token.

Started by the runner; jobs and messages are pickled over a pipe.
"""

from permix import processes
from permix.pipeline import ranks
from permix.pipeline.job import Job, Samplers, make


def main(descriptor: int) -> None:
    """Run the jobs that come over the pipe until it closes."""
    pipe = processes.attach(descriptor)
    samplers = Samplers()
    while True:
        try:
            job: Job = pipe.recv()
        except EOFError:
            return
        if job.processes > 1:
            samplers.close()  # the ranks need the memory
            pipe.send(ranks.run(job, pipe.send))
        else:
            pipe.send(make(job, pipe.send, samplers))
