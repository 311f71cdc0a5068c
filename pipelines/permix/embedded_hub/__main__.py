"""`python -m permix.embedded_hub`: the server in the foreground."""

from permix.embedded_hub.server import main

if __name__ == "__main__":
    main()
