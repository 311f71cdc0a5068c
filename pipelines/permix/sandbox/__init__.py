"""Runs programs that nobody trusts: without network, without our files and environment, under limits.

`Sandbox.run(program, input)` runs one, `Sandbox.open(program)` one on many inputs. Of two back ends the first that
proves its protections here is taken: bubblewrap (namespaces) and landlock (Landlock + seccomp + rlimits). Both drop
all privileges and filter system calls (`permix.sandbox.seccomp`). Where neither works nothing runs, unless the user
accepts that.
"""

from permix.sandbox.proof import choose, prove
from permix.sandbox.session import Limits, Result, Sandbox, SandboxError, Session

__all__ = ["Limits", "Result", "Sandbox", "SandboxError", "Session", "choose", "prove"]
