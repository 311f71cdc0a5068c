"""permix sandbox: try the sandbox back ends of this machine."""

from permix.commands import options
from permix.sandbox import choose, prove
from permix.sandbox.backend import SAFE
from permix.sandbox.session import SandboxError


def sandbox(as_json: options.Json = False) -> None:
    """Test the sandboxes of this machine: try to break out of each, name the one in use; exit code 1 for none."""
    proofs: dict[str, dict[str, bool] | str] = {}
    for back_end in SAFE:
        try:
            proofs[back_end] = prove(back_end)
        except SandboxError as error:
            proofs[back_end] = str(error)
    if as_json:
        options.print_json(proofs)
        choose()
        return
    for name, proof in proofs.items():
        print(name)
        if isinstance(proof, str):
            print(f"  {'does not run here':32} {proof}")
        else:
            for attack, stopped in proof.items():
                print(f"  {attack:32} {'stopped' if stopped else 'GOT THROUGH'}")
    print(f"programs run in: {choose()}")
