"""Publish a folder of this machine as a repository, byte for byte."""

import sys
from pathlib import Path

from permix.errors import BadInput, PermixError

IGNORED = [".git/**", "**/.DS_Store", "**/__pycache__/**"]


def upload(folder: Path, kind: str, name: str, source: Path | None = None) -> str:
    """Make the repository hold exactly the folder's files, in one commit; return the commit.

    The Hub is that of the environment. The same files again make no new commit. Errors name `source`, by default the
    folder.
    """
    if not folder.is_dir():
        raise BadInput(f"There is no folder or file {folder}: give the folder or GGUF file that should become {name}.")
    if not any(path.is_file() for path in folder.rglob("*")):
        raise BadInput(f"{folder} holds no file: give the folder that should become {name}.")
    if links := [path for path in sorted(folder.rglob("*")) if path.is_symlink() and not path.is_file()]:
        names = ", ".join(str(path.relative_to(folder)) for path in links)
        print(f"Note: links to folders, or to nothing, are left out: {names}.", file=sys.stderr)
    sdk = _space_sdk(folder) if kind == "space" else None

    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api, source = HfApi(), source or folder
    try:
        api.create_repo(name, repo_type=kind, exist_ok=True, space_sdk=sdk)
        commit = api.upload_folder(
            repo_id=name,
            repo_type=kind,
            folder_path=folder,
            delete_patterns="*",
            ignore_patterns=IGNORED,
            commit_message=f"Import {folder.resolve().name}",
        )
    except (HfHubHTTPError, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error, RuntimeError) else error  # an upload hides its reason
        reason = getattr(cause, "server_message", "") or cause or error
        raise PermixError(f"{source} was not imported as {name}: {' '.join(str(reason).split())}") from None
    except ValueError as error:  # a name or a card that the client itself refuses
        raise BadInput(f"{source} was not imported as {name}: {' '.join(str(error).split())}") from None
    return str(commit.oid)


def _space_sdk(folder: Path) -> str:
    from embedded_hub.store import card_metadata

    readme = folder / "README.md"
    sdk = card_metadata.metadata(readme.read_text(encoding="utf-8")).get("sdk") if readme.is_file() else None
    if not isinstance(sdk, str):
        raise BadInput(f"{folder} should have a README.md whose metadata say `sdk:` (gradio, static or docker).")
    return sdk
