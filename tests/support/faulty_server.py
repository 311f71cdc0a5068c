"""A scripted OpenAI-compatible server on loopback, over real HTTP: answers, or fails in any way a server can."""

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

MODELS = ("good-model", "other-model")


@dataclass(frozen=True)
class Asked:
    """One request as it came; `times` counts the earlier ones with the same messages, `at_once` those under way."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    times: int
    at_once: int

    @property
    def question(self) -> str:
        return str(self.body["messages"][-1]["content"])


@dataclass(frozen=True)
class Answer:
    """What to send. `cut`: "reset", "half" (of the body) or "hang" (nothing at all); `slow`: seconds before it."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: str = ""
    slow: float = 0.0


Script = Callable[[Asked], Answer]


def fine(request: Asked) -> Answer:
    """A completion that says the question and the seed again."""
    return completion(f"{request.question} seed {request.body.get('seed')}")


def completion(
    text: str | None, finish: str | None = "stop", *, model: str = "good-model-0301", **message: Any
) -> Answer:
    """A completion as servers send it; a word is a token, and every prompt has ten."""
    out = len((text or "").split())
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 10, "completion_tokens": out, "total_tokens": 10 + out}
    return Answer(body={"id": "x", "object": "chat.completion", "model": model, "choices": [choice], "usage": usage})


def error(status: int, message: str, **more: Any) -> Answer:
    """An error as OpenAI words it."""
    return Answer(status, {"error": {"message": message, "type": "error", **more}})


class FaultyServer:
    """Serves in a thread; `asked` holds every chat request. `wait_for(n)` returns when so many have come."""

    def __init__(self, script: Script = fine, *, models: Answer | None = None, remember: bool = True) -> None:
        listed = {"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]}
        self.asked: list[Asked] = []
        self.most_at_once = 0
        self._script, self._models, self._remember = script, models or Answer(body=listed), remember
        self._times: dict[str, int] = {}
        self._at_once = 0
        self._came = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[Any]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            self._server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wait_for(self, count: int) -> None:
        with self._came:
            assert self._came.wait_for(lambda: len(self.asked) >= count, timeout=60)

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=1024)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection stays open."""
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = first.split()
        if method == "GET":
            return await self._send(writer, self._models)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            answer = self._script(self._note(path, headers, json.loads(body)))
            await asyncio.sleep(answer.slow)
        finally:
            self._at_once -= 1
        if answer.status == 200 and isinstance(answer.body, dict) and json.loads(body).get("stream"):
            return await self._send_stream(writer, answer)
        return await self._send(writer, answer)

    def _note(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> Asked:
        if not self._remember:
            return Asked(path, headers, body, 0, self._at_once)
        identity = json.dumps([body["messages"], body.get("seed")])
        request = Asked(path, headers, body, self._times.get(identity, 0), self._at_once)
        with self._came:
            self._times[identity] = request.times + 1
            self.asked.append(request)
            self._came.notify_all()
        return request

    async def _send(self, writer: asyncio.StreamWriter, answer: Answer) -> bool:
        if answer.cut == "hang":
            await asyncio.Event().wait()
        if answer.cut == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            return False
        body = answer.body.encode() if isinstance(answer.body, str) else json.dumps(answer.body).encode()
        headers = {"content-type": "application/json", "content-length": len(body), **answer.headers}
        lines = [f"HTTP/1.1 {answer.status} X", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        whole = "\r\n".join(lines).encode() + body
        writer.write(whole[: -len(body) // 2] if answer.cut == "half" else whole)
        await writer.drain()
        return not answer.cut

    async def _send_stream(self, writer: asyncio.StreamWriter, answer: Answer) -> bool:
        """The same completion as server-sent events, a letter in each."""
        choice = answer.body["choices"][0]
        text = choice["message"]["content"]
        deltas: list[tuple[dict[str, str], str | None]] = [({"content": letter}, None) for letter in text]
        if answer.cut == "half":
            deltas = deltas[: len(deltas) // 2]
        else:
            deltas.append(({}, choice["finish_reason"]))
        writer.write(b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for delta, finish in deltas:
            part = {"index": 0, "delta": delta, "finish_reason": finish}
            event = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [part]}
            await self._chunk(writer, f"data: {json.dumps(event)}\n\n")
        if answer.cut == "half":
            return False
        await self._chunk(writer, "data: [DONE]\n\n")
        await self._chunk(writer, "")
        return True

    async def _chunk(self, writer: asyncio.StreamWriter, text: str) -> None:
        data = text.encode()
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await writer.drain()
