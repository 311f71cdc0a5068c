"""The embedded Hub: large files against `cp` + `sha256sum` and against the client alone, commits, start, memory.

What bounds the uploads on two cores is CPU. In seconds per GB, on a busy machine, the client takes 1.5 by LFS, in which
it hashes before it sends, and 3.2 by Xet; receiving, sha256 and writing past the page cache take 1.1 in a bare loop on
the socket, 2.0 in this server by LFS and 4.4 by Xet, which writes everything twice. The client alone sends for 0.6 s,
in which client and server together have 1.2 CPU seconds: four fifths of its speed is what the bare loop could just
reach, and uvicorn with h11, which costs 0.9 s of the 2.0, cannot.
"""

import base64
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from embedded_hub import launch
from tests.bench.row import SCRIPTS, Row

SIZE = 1_000_000_000
ROUNDS = 2
FILES, COMMITS = 2000, 1000


def rows() -> Iterator[Row]:
    """All ratios are of times taken in turn, the best of two rounds each."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        yield from _large(root)
        with _hub(root / "small") as running:
            yield from _small(running)
        yield Row("start, seconds", min(_start(root / f"start-{turn}") for turn in range(5)), 0.7, detail="best of 5")


def _large(root: Path) -> Iterator[Row]:
    big = root / "big.bin"
    with big.open("wb") as out:
        for _ in range(SIZE // 10_000_000):
            out.write(os.urandom(10_000_000))
    times: dict[str, list[float]] = {}
    peak = 0
    for turn in range(ROUNDS):
        times.setdefault("copy", []).append(_copy_and_hash(big))
        with _discarding(big) as url:
            for way in ("lfs", "xet", "down"):
                taken = _transfer(root, way, {"HF_ENDPOINT": url, "HF_TOKEN": "x"})
                times.setdefault(f"{way} floor", []).append(taken)
        for way in ("lfs", "xet"):
            with _hub(root / f"{way}-{turn}") as running:
                access = {"HF_ENDPOINT": running.url, "HF_TOKEN": running.token}
                times.setdefault(way, []).append(_transfer(root, way, access))
                if way == "lfs":
                    times.setdefault("down", []).append(_transfer(root, "down", access))
                peak = max(peak, _peak(running))
    best = {name: min(seconds) for name, seconds in times.items()}
    for way, name, of_copy, of_floor in (
        ("lfs", "upload by LFS", 0.45, 0.8),
        ("down", "download", 0.45, 0.8),
        ("xet", "upload by Xet", 0.15, 0.6),
    ):
        detail = f"{best['copy']:.2f} s / {best[way]:.2f} s"
        yield Row(f"1 GB {name}, speed / cp + sha256sum", best["copy"] / best[way], of_copy, ">=", detail)
        least = best[f"{way} floor"]
        yield Row(
            f"1 GB {name}, speed / client alone",
            least / best[way],
            of_floor,
            ">=",
            f"{least:.2f} s / {best[way]:.2f} s",
        )
    yield Row("peak memory of the server, MB", peak / 1e6, 200, detail="VmHWM over all 1 GB transfers")


def _copy_and_hash(big: Path) -> float:
    copy = big.with_name("copy.bin")
    os.sync()
    started = time.perf_counter()
    subprocess.run(["cp", big, copy], check=True)
    subprocess.run(["sha256sum", copy], check=True, stdout=subprocess.DEVNULL)
    taken = time.perf_counter() - started
    copy.unlink()
    return taken


def _transfer(root: Path, way: str, access: dict[str, str]) -> float:
    """One transfer by a fresh client process; its own start is not counted."""
    home, target = root / "home", root / "down"
    environ = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment = environ | access | {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= {"HF_HUB_DISABLE_XET": "1"} if way == "lfs" else {}
    path = target if way == "down" else root / "big.bin"
    os.sync()  # what the one before left to be written is not this one's
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPTS["transfer a file"], way, str(path)],
        env=environment, cwd=root, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    for left in (home, target):
        shutil.rmtree(left, ignore_errors=True)
    return float(done.stdout.splitlines()[-1])


@contextmanager
def _discarding(big: Path) -> Iterator[str]:
    command = [sys.executable, str(Path(__file__).with_name("discarding_hub.py")), str(big)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.kill()


@contextmanager
def _hub(root: Path) -> Iterator[launch.Running]:
    """A fresh Hub with the repository lab/r; its data are deleted afterwards."""
    running = launch.attach(root, 0)
    _post(running, "/api/repos/create", {"name": "r", "organization": "lab"})
    yield running
    os.kill(_pid(running), signal.SIGTERM)
    while launch.held(root / "server.lock"):
        time.sleep(0.01)
    shutil.rmtree(root)


def _small(running: launch.Running) -> Iterator[Row]:
    files = [_file(f"data/{number % 20}/{number}.txt", os.urandom(500).hex()) for number in range(FILES)]
    started = time.perf_counter()
    _commit(running, files)
    yield Row("commit of 2,000 small files, seconds", time.perf_counter() - started, 1, detail="1 kB each")
    taken = []
    for number in range(COMMITS + 6):
        started = time.perf_counter()
        _commit(running, [_file("log.txt", f"{number}")])
        taken.append(time.perf_counter() - started)
    early, late = statistics.median(taken[5:16]), statistics.median(taken[COMMITS - 6 : COMMITS + 5])
    detail = f"{1000 * late:.1f} ms / {1000 * early:.1f} ms, medians of the 11 around them"
    yield Row("1,000th commit / 10th commit", late / early, 1.5, detail=detail)


def _file(path: str, text: str) -> dict[str, object]:
    value = {"path": path, "encoding": "base64", "content": base64.b64encode(text.encode()).decode()}
    return {"key": "file", "value": value}


def _commit(running: launch.Running, files: list[dict[str, object]]) -> None:
    lines = [{"key": "header", "value": {"summary": "commit"}}, *files]
    _post(running, "/api/models/lab/r/commit/main", b"\n".join(json.dumps(line).encode() for line in lines))


def _post(running: launch.Running, path: str, body: object) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = HTTPConnection(running.url.removeprefix("http://"))
    connection.request("POST", path, data, {"Authorization": f"Bearer {running.token}"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path} answered {answer.status}: {text.decode()}")


def _start(root: Path) -> float:
    started = time.perf_counter()
    running = launch.attach(root, 0)
    taken = time.perf_counter() - started
    os.kill(_pid(running), signal.SIGTERM)
    return taken


def _pid(running: launch.Running) -> int:
    return int(json.loads((running.root / "server.json").read_text())["pid"])


def _peak(running: launch.Running) -> int:
    status = Path(f"/proc/{_pid(running)}/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
