"""`python -m embedded_hub`: run the server in the foreground."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from embedded_hub.errors import BadOption, ServerError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadOption(f"{message[0].upper()}{message[1:]}. `{self.prog} --help` lists the options.")


def main() -> None:
    """Serve a data directory until Ctrl-C. Exit code 1 if the server cannot start, 2 for a wrong option."""
    if sys.platform == "win32":
        sys.exit("embedded_hub: This is Windows, it needs Linux or macOS: use the Windows Subsystem for Linux (WSL).")
    parser = _Parser(
        "python -m embedded_hub",
        description="A local server for the clients of huggingface.co. It prints its address and runs until Ctrl-C.",
    )
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="the data directory; created if needed")
    parser.add_argument("--port", type=int, metavar="N", help="the port; by default 7862, or any free port; 0: any")
    parser.add_argument(
        "--jobs", action="store_true",
        help="run Jobs and Spaces; anyone with write access to this Hub can then execute code on this machine",
    )  # fmt: skip
    parser.add_argument(
        "--webhooks-to", action="append", default=[], metavar="HOST[:PORT]",
        help="let webhooks call this host besides this machine; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--leased", action="store_true",
        help="print nothing, and end 10 s after the last process that has attached (for embedded_hub.launch)",
    )  # fmt: skip
    try:
        options = parser.parse_args()
        from embedded_hub import server

        root = options.root.expanduser().absolute()
        server.run(root, options.port, options.leased, options.jobs, webhook_hosts=options.webhooks_to)
    except ServerError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
