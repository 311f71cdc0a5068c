"""The embedded Hub: a server on 127.0.0.1 that speaks the Hub's protocol to unmodified clients. See README.md.

`launch` finds or starts the server of a data directory; `python -m embedded_hub` runs it in the foreground.
"""
