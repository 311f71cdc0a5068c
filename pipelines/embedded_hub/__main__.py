"""`python -m embedded_hub`: the server in the foreground."""

from embedded_hub.server import main

if __name__ == "__main__":
    main()
