"""The embedded Hub: a server on 127.0.0.1 that speaks the Hub's protocol to unmodified clients. See README.md.

`launch` starts the server of a data directory or finds the running one; `python -m embedded_hub` runs it in the
foreground.
"""
