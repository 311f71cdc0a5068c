"""A Hub that keeps nothing and checks nothing: what a transfer costs against it, the client costs alone.

`python discarding_hub.py FILE` prints its port. Uploads are thrown away; every download is FILE, by sendfile.
"""

import hashlib
import io
import json
import socket
import sys
import threading
import time
from pathlib import Path

COMMIT = "a" * 40
BUFFER = 1 << 20


def main(path: str) -> None:
    """Serve until killed, one thread per connection."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    print(port, flush=True)
    while True:
        line, _ = listening.accept()
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_serve, args=(line, f"http://127.0.0.1:{port}", path), daemon=True).start()


def _serve(line: socket.socket, base: str, path: str) -> None:
    spare = bytearray(BUFFER)
    reader: io.BufferedReader = line.makefile("rb", buffering=BUFFER)
    while first := reader.readline():
        method, target, _ = first.decode().split(" ")
        headers = {}
        while (header := reader.readline().strip()) != b"":
            name, _, value = header.decode().partition(":")
            headers[name.lower()] = value.strip()
        length, keep = int(headers.get("content-length", 0)), b""
        if length < BUFFER:
            keep = reader.read(length)
        else:
            while length:
                length -= reader.readinto(memoryview(spare)[: min(length, BUFFER)])
        if "/resolve/" in target:
            _send_file(line, method, path, headers.get("range", ""))
        else:
            status, answer = _answer(target, keep, base, path)
            body = json.dumps(answer).encode()
            head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            line.sendall(f'{head}ETag: "x"\r\n\r\n'.encode() + body)


def _answer(target: str, body: bytes, base: str, path: str) -> tuple[str, object]:
    if "/preupload/" in target:
        entries = json.loads(body)["files"]
        answers = [{"path": entry["path"], "uploadMode": "lfs", "shouldIgnore": False} for entry in entries]
        return "200 OK", {"files": answers}
    if target.endswith("/objects/batch"):
        actions = {"upload": {"href": f"{base}/put"}}
        return "200 OK", {"transfer": "basic", "objects": [
            {**entry, "actions": actions} for entry in json.loads(body)["objects"]
        ]}  # fmt: skip
    if "/xet-write-token/" in target:
        return "200 OK", {"casUrl": f"{base}/cas", "accessToken": "t", "exp": int(time.time()) + 900}
    if "/v1/xorbs/" in target or target.endswith("/v1/shards"):
        return "200 OK", {"was_inserted": True, "result": 1}
    if "/commit/" in target:
        return "200 OK", {"success": True, "commitOid": COMMIT, "commitUrl": f"{base}/lab/r/commit/{COMMIT}"}
    if target == "/put":
        return "200 OK", {}
    return "404 Not Found", {"error": "not here"}


def _send_file(line: socket.socket, method: str, path: str, range_: str) -> None:
    size = Path(path).stat().st_size
    etag = hashlib.sha256(path.encode()).hexdigest()
    start = int(range_.removeprefix("bytes=").split("-")[0]) if range_ else 0
    status = f"206 Partial Content\r\nContent-Range: bytes {start}-{size - 1}/{size}" if range_ else "200 OK"
    head = f'HTTP/1.1 {status}\r\nContent-Length: {size - start}\r\nETag: "{etag}"\r\nX-Repo-Commit: {COMMIT}\r\n\r\n'
    line.sendall(head.encode())
    if method == "GET":
        with Path(path).open("rb") as source:
            line.sendfile(source, start)


if __name__ == "__main__":
    main(sys.argv[1])
