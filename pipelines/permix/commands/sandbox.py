"""permix sandbox: which back end runs what models wrote on this machine, and what it stops."""

from permix.commands import options


def sandbox(as_json: options.Json = False) -> None:
    """Try to break out of each sandbox back end and say which one programs run in here; exit 1 where none holds."""
    import json

    from permix.sandbox import choose, prove
    from permix.sandbox.backend import SAFE
    from permix.sandbox.session import SandboxError

    proofs: dict[str, dict[str, bool] | str] = {}
    for back_end in SAFE:
        try:
            proofs[back_end] = prove(back_end)
        except SandboxError as error:
            proofs[back_end] = str(error)
    if as_json:
        print(json.dumps(proofs, indent=1))
    else:
        for name, proof in proofs.items():
            print(name)
            rows = proof.items() if isinstance(proof, dict) else [("does not run here", proof)]
            for attack, stopped in rows:
                print(
                    f"  {attack:32} {stopped if isinstance(stopped, str) else 'stopped' if stopped else 'GOT THROUGH'}"
                )
    chosen = choose()
    if not as_json:
        print(f"programs run in: {chosen}")
