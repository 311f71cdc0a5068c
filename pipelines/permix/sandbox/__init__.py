"""Run untrusted programs without network, without our files and environment, under limits.

`Sandbox.run(program, input)` runs a program once, `Sandbox.open(program)` on many inputs. The back end is the first to
prove its protections on this machine: bubblewrap (namespaces) or landlock (Landlock + seccomp + rlimits). Both drop
all privileges and filter system calls (`permix.sandbox.seccomp`). Without a working back end nothing runs, unless the
user accepts that.
"""

from permix.sandbox.backend import BackEnd
from permix.sandbox.proof import choose, prove
from permix.sandbox.session import Limits, Result, SandboxError, Session

__all__ = ["Limits", "Result", "Sandbox", "SandboxError", "Session", "choose", "prove"]


class Sandbox:
    """Runs programs in one back end; safe to use from several threads."""

    def __init__(self, back_end: BackEnd | None = None, limits: Limits | None = None) -> None:
        self.back_end: BackEnd = back_end or choose()
        self.limits = limits or Limits()

    def open(self, program: str, entry: str = "", prelude: str = "") -> Session:
        """Open a program to run on many inputs.

        With `entry`, that method of its class Solution, or that function, is called on one JSON value per line.
        `prelude` is trusted code that runs once before; the program sees its definitions.
        """
        return Session(self.back_end, self.limits, program, entry, prelude)

    def run(self, program: str, stdin: bytes = b"") -> Result:
        """Run a program once."""
        with self.open(program) as session:
            return session.run(stdin)
