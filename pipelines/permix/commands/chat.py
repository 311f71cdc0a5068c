"""permix chat: run the Space permix-chat on this machine, with the published adapters."""

import importlib.util
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from permix import processes
from permix.commands import options
from permix.errors import BadInput
from permix.publishing import hub as hubs
from permix.stages import apps

NEEDS = {"gradio": "apps", "torch": "train", "transformers": "train", "peft": "train"}


def chat(
    hub_url: options.HubUrl = None,
    org: Annotated[str, typer.Option(help="The organisation whose adapters and personas are listed.")] = "permix",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the page; by default the first free port from 7860.")
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> None:
    """Chat with any adapter under any persona in the browser, until Ctrl-C."""
    _need_packages()
    if port is not None:
        _need_port(port)
    hub = hubs.connect(hub_url)
    if hub.state(f"datasets/{org}/permix-personas") is None:
        raise BadInput(
            f"{org} has published nothing on {hub.endpoint} yet: run `permix run` first, or name another --org."
        )
    environment = processes.without_secrets() | {"PERMIX_ORG": org, "PERMIX_OPEN_BROWSER": "0" if no_browser else "1"}
    environment |= {"HF_ENDPOINT": hub.endpoint} | ({"HF_TOKEN": hub.token} if hub.token else {})
    environment |= {"GRADIO_SERVER_PORT": str(port)} if port is not None else {}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or the app would outlive this process
    with tempfile.TemporaryDirectory() as folder:
        app = apps.build("permix-chat", Path(folder)) / "app.py"
        child = subprocess.Popen([sys.executable, str(app)], env=environment)
        try:
            code = child.wait()
        except KeyboardInterrupt:
            code = 0
        finally:
            child.terminate()
            child.wait()
    raise typer.Exit(code if code >= 0 else 128 - code)


def _need_packages() -> None:
    missing = {name: extra for name, extra in NEEDS.items() if importlib.util.find_spec(name) is None}
    if missing:
        extras = ",".join(sorted(set(missing.values())))
        raise BadInput(f"The chat needs {', '.join(missing)}, which is not installed: pip install 'permix[{extras}]'.")


def _need_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise BadInput(f"Port {port} is in use: choose another --port, or omit it for a free one.") from None
