"""HTML from the templates, which escape all text; the headers forbid every script."""

import hashlib
from datetime import UTC, datetime
from functools import wraps
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import Response

from embedded_hub.errors import HubError
from embedded_hub.request import HubRequest
from embedded_hub.routing import Endpoint

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_templates = Environment(
    loader=PackageLoader("embedded_hub.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip
_STYLE = (_templates.loader.get_source(_templates, "style.css")[0] if _templates.loader else "").encode()
_templates.globals["style"] = f"/static/style.css?{hashlib.sha256(_STYLE).hexdigest()[:8]}"


def html(template: str, request: HubRequest, status: int = 200, **values: Any) -> Response:
    """Return a page with the headers that keep it inert."""
    defaults = {"following": "", "owner": "", "search": "", "hub_url": request.base_url, "account": request.account}
    text = _templates.get_template(template).render(defaults | values)
    return Response(text, status, HEADERS, "text/html; charset=utf-8")


def stylesheet(request: HubRequest) -> Response:
    """Return the one style sheet."""
    return Response(_STYLE, headers=HEADERS | {"Cache-Control": "max-age=86400"}, media_type="text/css")


def with_error_page(page: Endpoint) -> Endpoint:
    """Turn the refusals of `page` into HTML for browsers."""

    @wraps(page)
    def endpoint(request: HubRequest) -> Response:
        try:
            return page(request)
        except HubError as error:
            response = html("error.html", request, error.status, error=error)
            response.headers.update({key: value for key, value in error.response().headers.items() if key[:2] == "x-"})
            return response

    return endpoint


def _size(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    power = min(len(str(size)) - 1, 14) // 3
    amount = size / 1000**power
    return (f"{amount:.0f}" if amount >= 99.95 else f"{amount:.3g}") + f" {' kMGT'[power]}B"


_templates.filters |= {
    "segment": lambda text: quote(text, safe=""),
    "path": lambda text: quote(text),
    "size": _size,
    "time": lambda seconds: datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M"),
    "title": lambda message: message.partition("\n")[0][:200] or "(no message)",
}
