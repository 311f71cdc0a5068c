"""The specification of a Job: checked as clients send it, and described without its secrets."""

import json
import re
from pathlib import Path
from typing import Any

from embedded_hub.errors import HubError
from embedded_hub.request import objects

DEFAULT_TIMEOUT = 30 * 60
"""Seconds, as on the real Hub."""
LONGEST = 30 * 86400
ATTEMPTS, WORDS, TEXT, NAMES = 100, 1000, 1 << 20, 200
"""Limits: attempts, words of a command, characters of one value (Linux allows fewer), variables."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SEGMENT = "[A-Za-z0-9_][A-Za-z0-9._-]*"
_LABEL = re.compile(r"[A-Za-z0-9._-]{0,100}")
_UNKNOWN_HERE = {"expose": "ports of Jobs", "ssh": "SSH", "network": "networks of Jobs"}

HARDWARE: list[dict[str, Any]] = json.loads(Path(__file__).with_name("flavors.json").read_text(encoding="utf-8"))
"""The hardware flavors as clients read them. All mean this machine; sizes and prices are those of huggingface.co."""
FLAVORS = tuple(flavor["name"] for flavor in HARDWARE)


def parse(body: dict[str, Any]) -> dict[str, Any]:
    """Return a checked specification; 400 if it is invalid, 501 for features of the real Hub only."""
    for key, feature in _UNKNOWN_HERE.items():
        if body.get(key):
            raise HubError(501, f"The embedded Hub does not offer {feature}.")
    command, arguments = words(body.get("command"), "command"), words(body.get("arguments") or [], "arguments")
    image, space = body.get("dockerImage"), body.get("spaceId")
    if not (command or arguments) or not isinstance(image or space, str):
        raise HubError(400, "A Job needs a command, and a dockerImage or a spaceId.")
    flavor = checked_flavor(body.get("flavor") or FLAVORS[0])
    return {
        "dockerImage": image, "spaceId": space, "flavor": flavor,
        "command": command, "arguments": arguments,
        "environment": variables(body.get("environment"), "environment"),
        "secrets": variables(body.get("secrets"), "secrets"),
        "timeoutSeconds": _whole(body, "timeoutSeconds", DEFAULT_TIMEOUT, LONGEST),
        "attempts": _whole(body, "attempts", 1, ATTEMPTS),
        "labels": labels(body.get("labels")), "volumes": _volumes(body),
    }  # fmt: skip


def checked_flavor(flavor: Any) -> str:
    """Return a known hardware flavor; 400 for anything else."""
    if flavor not in FLAVORS:
        raise HubError(400, f"There is no flavor {str(flavor)[:40]!r}: it is one of {', '.join(FLAVORS)}.")
    return str(flavor)


def words(value: Any, name: str) -> list[str]:
    """Return the words of a command; 400 for anything else."""
    if not isinstance(value, list) or len(value) > WORDS or not all(_text(word) for word in value):
        raise HubError(400, f"{name} should be a list of at most {WORDS} texts.")
    return list(value)


def variables(values: Any, name: str) -> dict[str, str]:
    """Return variables of an environment; 400 for anything else, without naming a value, which may be a secret."""
    values = {} if values is None else values
    if not isinstance(values, dict) or len(values) > NAMES:
        raise HubError(400, f"{name} should be an object with at most {NAMES} variables.")
    for key, value in values.items():
        if not _VARIABLE.fullmatch(key) or not (_text(value) or isinstance(value, int | float)):
            raise HubError(400, f"{name} has {key[:40]!r}: names like HF_TOKEN and values that are text are expected.")
    return {key: str(value) for key, value in values.items()}


def labels(values: Any) -> dict[str, str]:
    """Return labels; 400 for anything else."""
    values = {} if values is None else values
    texts = [*values, *values.values()] if isinstance(values, dict) and len(values) <= NAMES else [None]
    if not all(isinstance(text, str) and _LABEL.fullmatch(text) for text in texts):
        sentence = "labels should be an object: keys and values of at most 100 letters, digits, '-', '_', '.'."
        raise HubError(400, sentence)
    return dict(values)


def described(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a specification as clients read it, with the names of its secrets only."""
    public = {key: value for key, value in spec.items() if key not in ("timeoutSeconds", "attempts")}
    limits = {"timeout": spec["timeoutSeconds"], "retry": spec["attempts"] - 1}
    return public | limits | {"secrets": dict.fromkeys(spec["secrets"])}


def _volumes(body: dict[str, Any]) -> list[dict[str, Any]]:
    volumes = objects(body, "volumes", 20)
    for volume in volumes:
        if volume.get("type") != "bucket":
            raise HubError(501, f"The embedded Hub mounts buckets, not {str(volume.get('type'))[:40]}.")
        mount, path = str(volume.get("mountPath")), str(volume.get("path") or "")
        if not re.fullmatch(rf"(/{_SEGMENT})+", mount):
            raise HubError(400, f"{mount[:80]!r} is not a mountPath: something like /data is expected.")
        if not re.fullmatch(rf"({_SEGMENT}(/{_SEGMENT})*/?)?", path):
            raise HubError(400, f"{path[:80]!r} cannot be a folder of a bucket.")
        if str(volume.get("source")).count("/") != 1:
            raise HubError(400, f"{str(volume.get('source'))[:80]!r} is not a bucket: namespace/name is expected.")
    return volumes


def _whole(body: dict[str, Any], key: str, default: int, most: int) -> int:
    value = body.get(key, default)
    if type(value) is not int or not 1 <= value <= most:
        raise HubError(400, f"{key} is {str(value)[:40]!r}: a whole number from 1 to {most} is expected.")
    return value


def _text(value: Any) -> bool:
    """Return whether an environment or a command line can hold the value."""
    return isinstance(value, str) and len(value) <= TEXT and "\0" not in value and not _SURROGATE.search(value)
