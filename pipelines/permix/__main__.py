"""`permix` and `python -m permix`: run a command; an error is one sentence on stderr and exit code 1 or 2."""

import os
import sys


def main() -> None:
    """Run the command line."""
    from permix.cli import app
    from permix.errors import PermixError

    try:
        app()
    except PermixError as error:
        print(f"permix: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("permix: stopped; run the same command again to continue.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader, `head` say, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


if __name__ == "__main__":
    main()
