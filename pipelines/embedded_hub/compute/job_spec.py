"""What a Job is asked to do, as clients send it, checked; and what is told of it afterwards."""

import re
from typing import Any

from embedded_hub.errors import HubError

DEFAULT_TIMEOUT = 30 * 60
"""Seconds, as on the real Hub."""
LONGEST = 30 * 86400
ATTEMPTS, WORDS, TEXT, NAMES = 100, 1000, 1 << 20, 200
"""Most attempts, words of a command, characters of one value (what Linux allows is less), variables."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SEGMENT = "[A-Za-z0-9_][A-Za-z0-9._-]*"
_LABEL = re.compile(r"[A-Za-z0-9._-]{0,100}")
_UNKNOWN_HERE = {"expose": "exposes no ports of Jobs", "ssh": "has no SSH", "network": "has no networks of Jobs"}

# name, shown name, cores, memory, accelerator (model, how many, memory of all), US dollars per hour on huggingface.co
_FLAVORS: list[tuple[str, str, int, str, tuple[str, int, str] | None, float]] = [
    ("cpu-basic", "CPU Basic", 2, "16 GB", None, 0.01),
    ("cpu-upgrade", "CPU Upgrade", 8, "32 GB", None, 0.03),
    ("t4-small", "Nvidia T4 - small", 4, "15 GB", ("T4", 1, "16 GB"), 0.40),
    ("t4-medium", "Nvidia T4 - medium", 8, "30 GB", ("T4", 1, "16 GB"), 0.60),
    ("l4x1", "Nvidia L4 - x1", 8, "30 GB", ("L4", 1, "24 GB"), 0.80),
    ("l4x4", "Nvidia L4 - x4", 48, "186 GB", ("L4", 4, "96 GB"), 3.80),
    ("a10g-small", "Nvidia A10G - small", 4, "15 GB", ("A10G", 1, "24 GB"), 1.00),
    ("a10g-large", "Nvidia A10G - large", 12, "46 GB", ("A10G", 1, "24 GB"), 1.50),
    ("l40sx1", "Nvidia L40S - x1", 8, "62 GB", ("L40S", 1, "48 GB"), 1.80),
    ("a100-large", "Nvidia A100 - large", 12, "142 GB", ("A100", 1, "80 GB"), 2.50),
    ("rtx-pro-6000", "Nvidia RTX PRO 6000", 12, "142 GB", ("RTX PRO 6000", 1, "96 GB"), 2.75),
    ("h200", "Nvidia H200", 23, "256 GB", ("H200", 1, "141 GB"), 5.00),
]
FLAVORS = tuple(row[0] for row in _FLAVORS)


def hardware() -> list[dict[str, Any]]:
    """The flavors that may be asked for. All mean this machine; sizes and prices are those of huggingface.co."""
    found = []
    for name, pretty, cores, memory, accelerator, hourly in _FLAVORS:
        per_minute = hourly / 60
        one: dict[str, Any] = {"name": name, "prettyName": pretty, "cpu": f"{cores} vCPU", "ram": memory}
        one |= {"unitCostMicroUSD": round(per_minute * 1e6), "unitCostUSD": round(per_minute, 6), "unitLabel": "minute"}
        if accelerator:
            model, count, vram = accelerator
            about = {"type": "gpu", "model": model, "quantity": str(count), "vram": vram, "manufacturer": "Nvidia"}
            one["accelerator"] = about
        found.append(one)
    return found


def parse(wanted: dict[str, Any]) -> dict[str, Any]:
    """The specification of a Job as it is kept; 400 for what is none, 501 for what only the real Hub does."""
    for key, sentence in _UNKNOWN_HERE.items():
        if wanted.get(key):
            raise HubError(501, f"The embedded Hub {sentence}.")
    command = words(wanted.get("command"), "command") + words(wanted.get("arguments") or [], "arguments")
    image, space = wanted.get("dockerImage"), wanted.get("spaceId")
    if not command or not isinstance(image or space, str):
        raise HubError(400, "A Job needs a command, and a dockerImage or a spaceId.")
    flavor = wanted.get("flavor") or FLAVORS[0]
    if flavor not in FLAVORS:
        raise HubError(400, f"There is no flavor {str(flavor)[:40]!r}: it is one of {', '.join(FLAVORS)}.")
    return {
        "dockerImage": image, "spaceId": space, "flavor": flavor,
        "command": words(wanted["command"], "command"), "arguments": words(wanted.get("arguments") or [], "arguments"),
        "environment": variables(wanted.get("environment"), "environment"),
        "secrets": variables(wanted.get("secrets"), "secrets"),
        "timeoutSeconds": _whole(wanted, "timeoutSeconds", DEFAULT_TIMEOUT, LONGEST),
        "attempts": _whole(wanted, "attempts", 1, ATTEMPTS),
        "labels": labels(wanted.get("labels")), "volumes": _volumes(wanted.get("volumes")),
    }  # fmt: skip


def words(found: Any, name: str) -> list[str]:
    """A list of the words of a command; 400."""
    if not isinstance(found, list) or len(found) > WORDS or not all(_text(one) for one in found):
        raise HubError(400, f"{name} should be a list of at most {WORDS} texts.")
    return list(found)


def variables(found: Any, name: str) -> dict[str, str]:
    """Variables of an environment; 400. The sentence never holds a value, for it may be a secret."""
    found = {} if found is None else found
    if not isinstance(found, dict) or len(found) > NAMES:
        raise HubError(400, f"{name} should be an object with at most {NAMES} variables.")
    for key, value in found.items():
        if not _VARIABLE.fullmatch(key) or not (_text(value) or isinstance(value, int | float)):
            raise HubError(400, f"{name} has {key[:40]!r}: names like HF_TOKEN and values that are text are expected.")
    return {key: str(value) for key, value in found.items()}


def labels(found: Any) -> dict[str, str]:
    """Labels; 400."""
    found = {} if found is None else found
    good = isinstance(found, dict) and len(found) <= NAMES
    if not good or not all(
        isinstance(v, str) and _LABEL.fullmatch(k) and _LABEL.fullmatch(v) for k, v in found.items()
    ):
        raise HubError(
            400, "labels should be an object: keys and values of at most 100 letters, digits, '-', '_', '.'."
        )
    return dict(found)


def described(spec: dict[str, Any]) -> dict[str, Any]:
    """What is told of a specification: of its secrets only the names."""
    told = {key: value for key, value in spec.items() if key not in ("timeoutSeconds", "attempts")}
    more = {"timeout": spec["timeoutSeconds"], "retry": spec["attempts"] - 1}
    return told | more | {"secrets": dict.fromkeys(spec["secrets"])}


def _volumes(found: Any) -> list[dict[str, Any]]:
    if found is None:
        return []
    if not isinstance(found, list) or len(found) > 20 or not all(isinstance(one, dict) for one in found):
        raise HubError(400, "volumes should be a list of at most 20 objects.")
    for one in found:
        if one.get("type") != "bucket":
            raise HubError(501, f"The embedded Hub mounts buckets, no {str(one.get('type'))[:40]}.")
        mount, path = str(one.get("mountPath")), str(one.get("path") or "")
        if not re.fullmatch(rf"(/{_SEGMENT})+", mount):
            raise HubError(400, f"{mount[:80]!r} is no mountPath: /data is one.")
        if not re.fullmatch(rf"({_SEGMENT}(/{_SEGMENT})*/?)?", path):
            raise HubError(400, f"{path[:80]!r} is no folder of a bucket.")
        if str(one.get("source")).count("/") != 1:
            raise HubError(400, f"{str(one.get('source'))[:80]!r} names no bucket: namespace/name is expected.")
    return [dict(one) for one in found]


def _whole(wanted: dict[str, Any], key: str, default: int, most: int) -> int:
    value = wanted.get(key, default)
    if type(value) is not int or not 1 <= value <= most:
        raise HubError(400, f"{key} is {str(value)[:40]!r}: a whole number from 1 to {most} is expected.")
    return value


def _text(value: Any) -> bool:
    """Whether an environment or a command line can hold it."""
    return isinstance(value, str) and len(value) <= TEXT and "\0" not in value and not _SURROGATE.search(value)
