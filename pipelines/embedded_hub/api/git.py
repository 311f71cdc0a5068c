"""`git clone` and `git fetch` over smart HTTP. Clients write through the commit route only."""

import tempfile
import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import IO

from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from embedded_hub.errors import HubError
from embedded_hub.request import HubRequest, OpenRepository
from embedded_hub.routing import Endpoint, route

SERVICE = "git-upload-pack"
IN_MEMORY = 16 << 20
BODY = 64 << 20
NO_CACHE = {"Cache-Control": "no-cache"}
NO_PUSH = "The embedded Hub does not accept git push: use `hf upload` or huggingface_hub."


def info_refs(request: HubRequest) -> Response:
    """List the refs that can be fetched."""
    repository = _repository(request)
    if request.http.query_params.get("service") != SERVICE:
        raise HubError(403, NO_PUSH)
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as out:
        _answer(repository, b"", out, advertise=True)
        out.seek(0)
        return Response(out.read(), headers=NO_CACHE, media_type=f"application/x-{SERVICE}-advertisement")


def upload_pack(request: HubRequest) -> Response:
    """Return the objects that the caller lacks, as one pack."""
    repository, body = _repository(request), request.body
    if request.http.headers.get("content-encoding") == "gzip":
        unzip = zlib.decompressobj(wbits=31)
        try:
            body = unzip.decompress(body, BODY)
        except zlib.error:
            raise HubError(400, "The body is not gzip.") from None
        if unzip.unconsumed_tail:
            raise HubError(413, f"The body unpacks to more than {BODY >> 20} MiB.")
    out = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  (closed when it has been sent)
    _answer(repository, body, out, advertise=False)
    headers = NO_CACHE | {"Content-Length": str(out.tell())}
    return StreamingResponse(_pieces(out), headers=headers, media_type=f"application/x-{SERVICE}-result")


def receive_pack(request: HubRequest) -> Response:
    """Refuse a push."""
    _repository(request)
    raise HubError(403, NO_PUSH)


def _repository(request: HubRequest) -> OpenRepository:
    try:
        return request.repository()
    except HubError as error:
        if error.status == 401:  # git sends its token only after this header
            error.headers["WWW-Authenticate"] = 'Basic realm="Hub"'
        raise


def _answer(repository: OpenRepository, body: bytes, out: IO[bytes], advertise: bool) -> None:
    from dulwich.errors import GitProtocolError, HangupException
    from dulwich.protocol import ReceivableProtocol
    from dulwich.server import DictBackend, UploadPackHandler

    class WholeClones(UploadPackHandler):  # type: ignore[misc]
        """Does not offer partial clones, whose later requests for single objects dulwich refuses; git clones all."""

        filter_spec = property(lambda self: None, lambda self, ignored: None)  # git names a filter all the same

        def capabilities(self) -> list[bytes]:
            return [name for name in super().capabilities() if name != b"filter"]

        def set_client_capabilities(self, caps: Iterable[bytes]) -> None:
            super().set_client_capabilities([name for name in caps if not name.startswith(b"filter")])

    protocol = ReceivableProtocol(BytesIO(body).read, out.write)
    backend = DictBackend({"/": repository.git.git})
    handler = WholeClones(backend, ["/"], protocol, stateless_rpc=True, advertise_refs=advertise)
    if advertise:
        protocol.write_pkt_line(f"# service={SERVICE}\n".encode())
        protocol.write_pkt_line(None)
    try:
        handler.handle()
    except (GitProtocolError, HangupException, AssertionError, ValueError) as error:
        raise HubError(400, f"This is not a request of git: {error}.") from None


def _pieces(out: IO[bytes]) -> Iterator[bytes]:
    with out:
        out.seek(0)
        while piece := out.read(1 << 20):
            yield piece


def _both(method: str, path: str, endpoint: Endpoint) -> list[Route]:
    return [route(method, f"/{{prefix}}{{namespace}}/{{name}}{end}/{path}", endpoint, BODY) for end in (".git", "")]


ROUTES = [
    *_both("GET", "info/refs", info_refs),
    *_both("POST", SERVICE, upload_pack),
    *_both("POST", "git-receive-pack", receive_pack),
]
