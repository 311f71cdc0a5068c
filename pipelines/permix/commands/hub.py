"""`permix hub`: serve the embedded Hub, fill it, check it, run commands against it, make tokens."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from embedded_hub import launch
from embedded_hub.database.accounts import Accounts, NameTaken, valid_namespace
from embedded_hub.database.connection import Database
from embedded_hub.launch import Running
from permix import files
from permix.errors import BadInput, PermixError
from permix.publishing import local_folder
from permix.publishing import mirror as mirroring

app = typer.Typer(help="Serve or fill the embedded Hub, a local Hub for development.", no_args_is_help=True)
Repository = Annotated[str, typer.Argument(metavar="REPO", help="org/name, datasets/org/name or spaces/org/name.")]
Root = Annotated[Path | None, typer.Option("--root", help="Data directory, by default permix's own.")]


@app.command()
def serve(
    root: Root = None,
    port: Annotated[int | None, typer.Option(help="Port; by default 7862, or any free port.")] = None,
    jobs: Annotated[
        bool, typer.Option("--jobs", help="Run Jobs and Spaces. Anyone with write access can then run code here.")
    ] = False,
    at_once: Annotated[int | None, typer.Option(min=1, help="Jobs at a time; by default one per two cores.")] = None,
    webhooks_to: Annotated[
        list[str] | None, typer.Option(metavar="HOST[:PORT]", help="Call webhooks on this host too; repeatable.")
    ] = None,
) -> None:
    """Run the embedded Hub until Ctrl-C."""
    from embedded_hub import server

    server.run(_root(root), port, jobs=jobs, at_once=at_once, webhook_hosts=webhooks_to or [])


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="FOLDER|MODEL.gguf", help="A folder or GGUF file of this machine.")],
    repo: Repository,
    dtype: Annotated[
        str | None, typer.Option(help="Precision of a GGUF's weights: bfloat16 (the default), float32 or float16.")
    ] = None,
    root: Root = None,
) -> None:
    """Make a repository hold exactly the files of a folder, or the model of a GGUF file, in one commit."""
    kind, name = _split(repo)
    if not source.is_file():
        if dtype is not None:
            raise BadInput(f"--dtype converts the weights of a GGUF file, not {source}: omit --dtype.")
        _enter(root)
        print(f"{repo}@{local_folder.upload(source, kind, name)}")
        return
    from permix.publishing import gguf_check, gguf_import

    if kind != "model":
        raise BadInput(f"{source} is a file, and {repo} a {kind}: give a folder, or import a GGUF file as org/name.")
    precision = dtype or "bfloat16"
    header = gguf_check.check(source, precision, _root(root))
    running = _enter(root)
    print(f"{repo}@{gguf_import.upload(source, header, name, precision, running.root / 'import')}")


@app.command()
def mirror(
    repo: Repository,
    from_: Annotated[str | None, typer.Option("--from", metavar="URL", help="Copy from this Hub.")] = None,
    to: Annotated[str | None, typer.Option(metavar="URL", help="Copy to this Hub.")] = None,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit.")] = "main",
    root: Root = None,
) -> None:
    """Copy a repository's files between the embedded Hub and another. Interrupt it at any time; it resumes."""
    kind, name = _split(repo)
    if (from_ is None) == (to is None):
        raise BadInput("Say either --from URL or --to URL: the other side is the embedded Hub.")
    url = mirroring.address(from_ or to or "")
    token = mirroring.token_for(url)  # before the embedded Hub's token replaces it
    running = _enter(root)
    other, embedded = mirroring.Side(url, token), mirroring.Side(running.url, running.token)
    source, target = (other, embedded) if from_ else (embedded, other)
    print(mirroring.copy(kind, name, revision, source, target, running.root / "mirror"))


@app.command()
def fsck(root: Root = None) -> None:
    """Check all stored data, also while the server runs; exit code 1 if something is damaged."""
    from embedded_hub import server
    from embedded_hub.upkeep import fsck

    folder = _root(root)
    if not (folder / "hub.db").is_file():
        raise BadInput(f"There is no embedded Hub in {folder}: give its data directory with --root.")
    server.check_format(folder)
    report = fsck.check(folder)
    for note in report.notes:
        print(f"note: {note}")
    for finding in report.findings:
        print(finding)
    print(
        f"{report.repositories} repositories, {report.objects} objects, {report.large_files} large files "
        f"({report.large_bytes / 1e6:.1f} MB): {len(report.findings) or 'nothing'} damaged."
    )
    raise typer.Exit(1 if report.findings else 0)


@app.command("exec", context_settings={"allow_interspersed_args": False})
def exec_(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="The command and its arguments.")],
    root: Root = None,
) -> None:
    """Run a command whose Hub clients use the embedded Hub: `permix hub exec -- python -c '…'`."""

    folder = _root(root)
    environment = launch.environment(launch.attach(folder), _home(folder))
    # Last on the PATH: `hf` comes with permix, also where its virtual environment is not active.
    environment["PATH"] = os.pathsep.join([environment.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    try:
        with subprocess.Popen(command, env=environment) as child:
            code = _wait(child)
    except FileNotFoundError:
        raise BadInput(f"There is no command {command[0]!r}: check its name, or install it.") from None
    except PermissionError:
        raise BadInput(f"{command[0]!r} may not be run: it should be an executable file.") from None
    raise typer.Exit(code if code >= 0 else 128 - code)


@app.command()
def token(
    new: Annotated[str | None, typer.Option(metavar="NAME", help="Make a token and print it, once.")] = None,
    role: Annotated[str, typer.Option(help="Rights of the new token: read or write.")] = "read",
    user: Annotated[str | None, typer.Option(help="User of the new token; by default a user called NAME.")] = None,
    org: Annotated[list[str] | None, typer.Option(help="An organisation of the user; repeatable.")] = None,
    revoke: Annotated[str | None, typer.Option(metavar="NAME", help="Revoke this token.")] = None,
    show: Annotated[bool, typer.Option("--list", help="List the tokens and their rights.")] = False,
    root: Root = None,
) -> None:
    """Print the local administrator's token; list, make or revoke others."""
    folder = _root(root)
    folder.mkdir(parents=True, exist_ok=True)
    from embedded_hub import server

    server.check_format(folder)
    accounts = Accounts(Database(folder / "hub.db"))
    try:
        local = server.local_token(folder, accounts)
        if new is not None:
            print(_new_token(accounts, new, role, user or new, org or []))
        elif show:
            for listed in accounts.tokens():
                orgs = ", ".join(listed.orgs) or "no organisation"
                rights = "every organisation" if listed.role == "admin" else orgs
                print(f"{listed.token_name}\t{listed.role}\t{listed.user} ({rights})\tmade {listed.created[:10]}")
        elif revoke is None:
            print(local)
        elif not accounts.revoke_token(revoke):
            raise BadInput(f"There is no token {revoke!r} to revoke: `permix hub token --list` shows their names.")
    finally:
        accounts.database.close()


def _new_token(accounts: Accounts, name: str, role: str, user: str, orgs: list[str]) -> str:
    if role not in ("read", "write"):
        raise BadInput(f"A token's role is read or write, not {role!r}.")
    for namespace in (user, *orgs):
        if not valid_namespace(namespace):
            raise BadInput(
                f"{namespace!r} cannot be the name of a user or organisation: use letters, digits, '-', '_' and '.'."
            )
    try:
        text = accounts.new_token(name, user, cast(Literal["read", "write"], role))
    except NameTaken:
        raise BadInput(f"There is a token {name!r} already: choose another name, or revoke it first.") from None
    for namespace in orgs:
        accounts.add_member(namespace, user)
    return text


def _root(root: Path | None) -> Path:
    return root.expanduser().absolute() if root else files.home() / "hub"


def _home(root: Path) -> Path:
    # Hubs must not share caches, because a cache knows a repository by its name only.
    return files.home() if root == files.home() / "hub" else root


def _enter(root: Path | None) -> Running:
    """Make this process a client of the embedded Hub, before the first import of a Hub library."""
    if "huggingface_hub" in sys.modules:
        raise PermixError("huggingface_hub was imported before the embedded Hub's environment was set.")
    folder = _root(root)
    running = launch.attach(folder)
    launch.enter(running, _home(folder))
    return running


def _split(repo: str) -> tuple[str, str]:
    parts = repo.split("/")
    kinds = {"models": "model", "datasets": "dataset", "spaces": "space"}
    kind = kinds.get(parts[0]) if len(parts) == 3 else "model" if len(parts) == 2 else None
    if kind is None or not all(parts):
        raise BadInput(f"{repo!r} is not a repository: write org/name, datasets/org/name or spaces/org/name.")
    return kind, "/".join(parts[-2:])


def _wait(child: subprocess.Popen[bytes]) -> int:
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue  # the child got Ctrl-C too, and decides on its end
