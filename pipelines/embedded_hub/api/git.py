"""`git clone` and `git fetch` over smart HTTP. Writing goes through commits alone."""

import tempfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import IO

from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from embedded_hub.errors import HubError
from embedded_hub.request import Call, Here
from embedded_hub.routing import Page, route

SERVICE = "git-upload-pack"
IN_MEMORY = 16 << 20
BODY = 64 << 20
NO_CACHE = {"Cache-Control": "no-cache"}


def info_refs(call: Call) -> Response:
    """What there is to fetch."""
    here = _here(call)
    if call.request.query_params.get("service") != SERVICE:
        raise HubError(403, "The embedded Hub takes no git push: use `hf upload` or huggingface_hub.")
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as out:
        _answer(here, b"", out, advertise=True)
        out.seek(0)
        return Response(out.read(), headers=NO_CACHE, media_type=f"application/x-{SERVICE}-advertisement")


def upload_pack(call: Call) -> Response:
    """The objects that the caller lacks, as one pack."""
    here, body = _here(call), call.body
    if call.request.headers.get("content-encoding") == "gzip":
        unzip = zlib.decompressobj(wbits=31)
        try:
            body = unzip.decompress(body, BODY)
        except zlib.error:
            raise HubError(400, "The body is not gzip.") from None
        if unzip.unconsumed_tail:
            raise HubError(413, f"The body unpacks to more than {BODY >> 20} MiB.")
    out = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  (closed when it has been sent)
    _answer(here, body, out, advertise=False)
    headers = NO_CACHE | {"Content-Length": str(out.tell())}
    return StreamingResponse(_pieces(out), headers=headers, media_type=f"application/x-{SERVICE}-result")


def receive_pack(call: Call) -> Response:
    """Refuse a push."""
    _here(call)
    raise HubError(403, "The embedded Hub takes no git push: use `hf upload` or huggingface_hub.")


def _here(call: Call) -> Here:
    try:
        return call.here()
    except HubError as error:
        if error.status == 401:  # git sends its token only when it is asked for one
            error.headers["WWW-Authenticate"] = 'Basic realm="Hub"'
        raise


def _answer(here: Here, body: bytes, out: IO[bytes], advertise: bool) -> None:
    from dulwich.errors import GitProtocolError, HangupException
    from dulwich.protocol import ReceivableProtocol
    from dulwich.server import DictBackend, UploadPackHandler

    protocol = ReceivableProtocol(BytesIO(body).read, out.write)
    backend = DictBackend({"/": here.git.git})
    handler = UploadPackHandler(backend, ["/"], protocol, stateless_rpc=True, advertise_refs=advertise)
    if advertise:
        protocol.write_pkt_line(f"# service={SERVICE}\n".encode())
        protocol.write_pkt_line(None)
    try:
        handler.handle()
    except (GitProtocolError, HangupException, AssertionError, ValueError) as error:
        raise HubError(400, f"This is no request of git: {error}.") from None


def _pieces(out: IO[bytes]) -> Iterator[bytes]:
    with out:
        out.seek(0)
        while piece := out.read(1 << 20):
            yield piece


def _both(method: str, path: str, page: Page) -> list[Route]:
    return [route(method, f"/{{prefix}}{{namespace}}/{{name}}{ending}/{path}", page, BODY) for ending in (".git", "")]


ROUTES = [
    *_both("GET", "info/refs", info_refs),
    *_both("POST", SERVICE, upload_pack),
    *_both("POST", "git-receive-pack", receive_pack),
]
