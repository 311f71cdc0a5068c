"""`permix` and `python -m permix`: run a command; print an error as one sentence, with exit code 1 or 2."""

import sys


def main() -> None:
    """Run the command line."""
    if sys.platform == "win32":
        sys.exit("permix: This is Windows, and permix needs Linux or macOS: use the Windows Subsystem for Linux (WSL).")
    from embedded_hub.errors import ServerError
    from permix.cli import app
    from permix.errors import PermixError

    try:
        app()
    except (PermixError, ServerError) as error:
        print(f"permix: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:  # a folder that cannot be written, a full disk
        path = f"{error.filename}: " if error.filename else ""
        advice = "choose another folder with PERMIX_HOME (or --work), or make room."
        print(f"permix: {path}{error.strerror or error}: {advice}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
