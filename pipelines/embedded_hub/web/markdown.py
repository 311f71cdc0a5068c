"""Render cards as safe HTML: without raw markup, scripts, or pictures of other sites."""

import posixpath
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import SplitResult, quote, unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from embedded_hub.store import card_metadata

LIMIT = 100_000
"""Characters that are rendered: the worst text of this length takes about two seconds."""
_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
_DATA = re.compile(r"data:image/(?:png|gif|jpeg|webp);base64,")


@lru_cache(64)
def render(text: str, address: str, revision: str) -> Markup:
    """Return a card of the repository `address` (`datasets/org/name`); relative links lead to files at `revision`."""
    tokens = _PARSER.parse(card_metadata.body(text)[:LIMIT])
    _make_safe(tokens, f"/{quote(address)}", quote(revision, safe=""))
    return Markup(_PARSER.renderer.render(tokens, _PARSER.options, {}))  # noqa: S704  (all text in it is escaped)


def _make_safe(tokens: Iterable[Token], address: str, revision: str) -> None:
    for token in tokens:
        if "style" in token.attrs:  # a column's alignment; the page's policy allows no inline style
            token.attrs = {"class": str(token.attrs["style"]).removeprefix("text-align:")}
        elif token.type == "link_open":
            target = _link(str(token.attrs.get("href", "")), f"{address}/blob/{revision}")
            token.attrs = {"href": target, "rel": "noopener noreferrer nofollow"} if target else {}
        elif token.type == "image":
            _picture(token, f"{address}/resolve/{revision}")
        if token.children:
            _make_safe(token.children, address, revision)


def _link(href: str, files: str) -> str | None:
    """Return the link if it leads to the web, this Hub, this page, or a file of the repository."""
    parts = _split(href)
    if parts.scheme in ("http", "https", "mailto"):
        return href
    if parts.scheme or href.startswith("//") or "\\" in href:
        return None
    if href.startswith(("#", "/")):
        return href
    path = _inside(parts.path)
    return path and f"{files}/{path}"


def _picture(token: Token, files: str) -> None:
    """Keep a picture of the repository or one embedded in the text; replace any other by its description."""
    source = str(token.attrs.get("src", ""))
    if _DATA.match(source):
        return
    parts = _split(source)
    path = None if parts.scheme or parts.netloc or source.startswith("/") else _inside(parts.path)
    if path:
        token.attrs["src"], token.attrs["loading"] = f"{files}/{path}", "lazy"
        return
    token.type, token.tag, token.content = "text", "", f"[picture: {token.content or source}]"


def _split(address: str) -> SplitResult:
    """Return the parts of an address; an invalid one has an unknown scheme."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("invalid:")


def _inside(path: str) -> str | None:
    """Return a relative path, normalised and quoted; None if it leads out of the repository."""
    target = posixpath.normpath(unquote(path))
    return None if target in (".", "") or target.startswith(("..", "/")) else quote(target)
