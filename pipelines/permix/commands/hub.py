"""`permix hub`: serve the embedded Hub, fill it, check it, run commands against it, make tokens."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from permix import files
from permix.errors import BadInput, PermixError

if TYPE_CHECKING:
    from subprocess import Popen

    from embedded_hub.database.accounts import Accounts
    from embedded_hub.launch import Running

app = typer.Typer(help="The embedded Hub: a local server for the clients of huggingface.co.", no_args_is_help=True)
Root = Annotated[Path | None, typer.Option("--root", help="Its data directory; by default permix's own.")]


@app.command()
def serve(
    root: Root = None,
    port: Annotated[int | None, typer.Option(help="Where to listen; by default 7862, or any that is free.")] = None,
    jobs: Annotated[bool, typer.Option("--jobs", help="Run Jobs and Spaces: code of whoever may write to it.")] = False,
    at_once: Annotated[int | None, typer.Option(min=1, help="Jobs at a time; by default one per two cores.")] = None,
    webhooks_to: Annotated[
        list[str] | None, typer.Option(metavar="HOST[:PORT]", help="Call webhooks there too; repeatable.")
    ] = None,
) -> None:
    """Run the embedded Hub until Ctrl-C."""
    from embedded_hub import server

    server.run(_root(root), port, jobs=jobs, at_once=at_once, webhook_hosts=webhooks_to or [])


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="A local folder; the repository will hold exactly its files.")],
    repo: Annotated[str, typer.Argument(help="org/name, datasets/org/name or spaces/org/name.")],
    root: Root = None,
) -> None:
    """Make a repository of a local folder, in one commit. Doing it again with the same files changes nothing."""
    kind, name = _repository(repo)
    if not folder.is_dir():
        raise BadInput(f"There is no folder {folder}: give the folder that should become {repo}.")
    if not any(path.is_file() for path in folder.rglob("*")):
        raise BadInput(f"{folder} holds no file: give the folder that should become {repo}.")
    sdk = _space_sdk(folder) if kind == "space" else None
    _enter(root)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    try:
        api.create_repo(name, repo_type=kind, exist_ok=True, space_sdk=sdk)
        done = api.upload_folder(
            repo_id=name,
            repo_type=kind,
            folder_path=folder,
            delete_patterns="*",
            ignore_patterns=[".git/**", "**/.DS_Store", "**/__pycache__/**"],
            commit_message=f"Import {folder.resolve().name}",
        )
    except HfHubHTTPError as error:
        raise PermixError(f"{folder} was not imported as {repo}: {error.server_message or error}") from None
    except ValueError as error:  # a name or a card that the client itself refuses
        raise BadInput(f"{folder} was not imported as {repo}: {' '.join(str(error).split())}") from None
    print(f"{repo}@{done.oid}")


@app.command()
def mirror(
    repo: Annotated[str, typer.Argument(help="org/name, datasets/org/name or spaces/org/name.")],
    from_: Annotated[str | None, typer.Option("--from", metavar="URL", help="Copy it from this Hub here.")] = None,
    to: Annotated[str | None, typer.Option(metavar="URL", help="Copy it from here to this Hub.")] = None,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit to copy.")] = "main",
    root: Root = None,
) -> None:
    """Copy a repository's files from another Hub, or to one. Interrupted, it goes on where it was."""
    from permix.publishing import mirror as hub_mirror

    kind, name = _repository(repo)
    if (from_ is None) == (to is None):
        raise BadInput("Say either --from URL or --to URL: the other side is the embedded Hub.")
    url = hub_mirror.address(from_ or to or "")
    token = hub_mirror.token_for(url)  # before ours takes its place
    running = _enter(root)
    there, here = hub_mirror.Side(url, token), hub_mirror.Side(running.url, running.token)
    source, target = (there, here) if from_ else (here, there)
    print(hub_mirror.copy(kind, name, revision, source, target, running.root / "mirror"))


@app.command()
def fsck(root: Root = None) -> None:
    """Check everything that is stored, also while the server runs; exit code 1 when something is damaged."""
    from embedded_hub import server
    from embedded_hub.upkeep import fsck

    where = _root(root)
    if not (where / "hub.db").is_file():
        raise BadInput(f"There is no embedded Hub in {where}: give its data directory with --root.")
    server.check_format(where)
    found = fsck.check(where)
    for note in found.notes:
        print(f"note: {note}")
    for finding in found.findings:
        print(finding)
    print(
        f"{found.repositories} repositories, {found.objects} objects, {found.large_files} large files "
        f"({found.large_bytes / 1e6:.1f} MB): {len(found.findings) or 'nothing'} damaged."
    )
    raise typer.Exit(1 if found.findings else 0)


@app.command(context_settings={"allow_interspersed_args": False})
def exec(command: Annotated[list[str], typer.Argument(help="The command.")], root: Root = None) -> None:
    """Run a command whose Hub clients talk to the embedded Hub: `permix hub exec -- python -c '…'`."""
    import subprocess

    from embedded_hub import launch

    where = _root(root)
    environment = launch.environment(launch.attach(where), _home(where))
    # Behind the user's own: `hf` comes with permix, also where its virtual environment is not active.
    environment["PATH"] = os.pathsep.join([environment.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    try:
        with subprocess.Popen(command, env=environment) as child:
            code = _outlast(child)
    except FileNotFoundError:
        raise BadInput(f"There is no command {command[0]!r}.") from None
    except PermissionError:
        raise BadInput(f"{command[0]!r} may not be run: it is no executable file.") from None
    raise typer.Exit(code if code >= 0 else 128 - code)


@app.command()
def token(
    new: Annotated[str | None, typer.Option(metavar="NAME", help="Make a token and print it, once.")] = None,
    role: Annotated[str, typer.Option(help="What the new token may do: read or write.")] = "read",
    user: Annotated[str | None, typer.Option(help="Whose token it is; by default a user called NAME.")] = None,
    org: Annotated[list[str] | None, typer.Option(help="An organisation the user acts for; repeatable.")] = None,
    revoke: Annotated[str | None, typer.Option(metavar="NAME", help="Make this token worthless.")] = None,
    show: Annotated[bool, typer.Option("--list", help="Say which tokens there are, and what they may do.")] = False,
    root: Root = None,
) -> None:
    """Print the local administrator's token; list, make or revoke others."""
    where = _root(root)
    where.mkdir(parents=True, exist_ok=True)
    from embedded_hub import server
    from embedded_hub.database.accounts import Accounts
    from embedded_hub.database.connection import Database

    server.check_format(where)
    accounts = Accounts(Database(where / "hub.db"))
    try:
        local = server.local_token(where, accounts)
        if new is not None:
            print(_new_token(accounts, new, role, user or new, org or []))
        elif show:
            for one in accounts.tokens():
                orgs = "every organisation" if one.role == "admin" else ", ".join(one.orgs) or "no organisation"
                print(f"{one.token_name}\t{one.role}\t{one.user} ({orgs})\tmade {one.created[:10]}")
        elif revoke is None:
            print(local)
        elif not accounts.revoke_token(revoke):
            raise BadInput(f"There is no token {revoke!r} to revoke.")
    finally:
        accounts.database.close()


def _new_token(accounts: "Accounts", name: str, role: str, user: str, orgs: list[str]) -> str:
    from embedded_hub.database.accounts import NameTaken, valid_namespace

    if role not in ("read", "write"):
        raise BadInput(f"A token's role is read or write, not {role!r}.")
    for one in (user, *orgs):
        if not valid_namespace(one):
            raise BadInput(f"{one!r} is no name of a user or organisation: use letters, digits, '-', '_' and '.'.")
    try:
        made = accounts.new_token(name, user, cast(Literal["read", "write"], role))
    except NameTaken:
        raise BadInput(f"There is a token {name!r} already: choose another name, or revoke it first.") from None
    for one in orgs:
        accounts.add_member(one, user)
    return made


def _root(root: Path | None) -> Path:
    return root.expanduser().absolute() if root else files.home() / "hub"


def _home(root: Path) -> Path:
    # Two Hubs must not share caches: these know a repository by its name alone.
    return files.home() if root == files.home() / "hub" else root


def _enter(root: Path | None) -> "Running":
    """Let this process be a client of the embedded Hub. Before the first import of a Hub library."""
    from embedded_hub import launch

    if "huggingface_hub" in sys.modules:
        raise PermixError("huggingface_hub was imported before the embedded Hub's environment was set.")
    where = _root(root)
    running = launch.attach(where)
    launch.enter(running, _home(where))
    return running


def _repository(repo: str) -> tuple[str, str]:
    parts = repo.split("/")
    kinds = {"models": "model", "datasets": "dataset", "spaces": "space"}
    kind = kinds.get(parts[0]) if len(parts) == 3 else "model" if len(parts) == 2 else None
    if kind is None or not all(parts):
        raise BadInput(f"{repo!r} names no repository: write org/name, datasets/org/name or spaces/org/name.")
    return kind, "/".join(parts[-2:])


def _space_sdk(folder: Path) -> str:
    from embedded_hub.store import card_metadata

    readme = folder / "README.md"
    sdk = card_metadata.metadata(readme.read_text(encoding="utf-8")).get("sdk") if readme.is_file() else None
    if not isinstance(sdk, str):
        raise BadInput(f"{folder} should have a README.md whose metadata say `sdk:` (gradio, static or docker).")
    return sdk


def _outlast(child: "Popen[bytes]") -> int:
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue  # the child got Ctrl-C too, and decides what it means
