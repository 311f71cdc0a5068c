"""The Jinja templates of hub_cards/ and the filters in them."""

import functools
import json
from collections.abc import Mapping
from typing import Any

import jinja2

from permix import files
from permix.results.claims import verdicts


def render(name: str, **values: Any) -> str:
    """Return the template hub_cards/<name>.md with these values; a missing value raises."""
    environment = jinja2.Environment(  # noqa: S701 - the page is Markdown, which the Hub sanitises
        loader=jinja2.FileSystemLoader(files.CARDS),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"verdicts": verdicts}
    quoted = functools.partial(json.dumps, ensure_ascii=False)
    environment.filters |= {"cell": cell, "link": _link, "ranged": _ranged, "quoted": quoted}
    return environment.get_template(f"{name}.md").render(**values)


def cell(value: Any) -> str:
    """Return a value as one cell of a Markdown table."""
    if value is None or value == "" or value != value:
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(cell, value))
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _ranged(level: Mapping[str, Any], name: str = "mean") -> str:
    if level[name] is None:
        return "–"
    return f"{level[name]:.2f}" + ("" if level["low"] is None else f" ({level['low']:.2f} to {level['high']:.2f})")


def _link(source: Mapping[str, Any]) -> str:
    """Return a link to an input's commit, relative to the Hub, so that it works on every Hub."""
    return f"[`{source['repo']}@{source['revision'][:8]}`](/{source['repo']}/tree/{source['revision']})"
