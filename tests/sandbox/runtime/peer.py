"""A scripted gateway: starts the runtime in a forked child and speaks the wire with it."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.payloads import (
    ExceptionRecord,
    Failed,
    FetchedHead,
    FetchError,
    FetchHead,
    HeaderList,
    Init,
    LogRecord,
    Ready,
    RequestHead,
    ResponseHead,
    decode_struct,
    encode_struct,
)
from sandbox.protocol import (
    END,
    FROM_INSTANCE,
    LENGTH_SIZE,
    WINDOW,
    Decoder,
    Frame,
    FrameType,
    decode_credit,
    encode,
    encode_credit,
    split_answer,
)
from sandbox.runtime import bootstrap

Answer = tuple[FetchedHead, bytes] | FetchError
Fetch = Callable[[FetchHead, bytes], Answer]


@dataclass
class Reply:
    """Everything one invocation said."""

    status: int = 0
    headers: HeaderList = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    logs: list[LogRecord] = field(default_factory=list)
    exceptions: list[ExceptionRecord] = field(default_factory=list)
    ended: bool = False
    done: bool = False
    ended_before_exception: bool = False
    asked: int = 0
    """How often for more CPU time."""

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def header(self, name: str) -> list[str]:
        return [v.decode() for n, v in self.headers if n == name.encode()]

    def lines(self, level: str) -> list[str]:
        return [" ".join(map(str, log.message)) for log in self.logs if log.level == level]


class Instance:
    """A running instance, seen from the gateway."""

    def __init__(self, root: Path) -> None:
        self.app_dir = root / "app"
        self.app_dir.mkdir()
        self.wire, theirs = socket.socketpair()
        self.wire.settimeout(20)
        self.replies: dict[int, Reply] = {}
        self.fetches: list[tuple[FetchHead, bytes]] = []
        self.cancelled: list[int] = []
        self.outside: list[LogRecord] = []
        self.credit: dict[int, int] = {}
        self.fetch: Fetch | None = None
        self.give_credit = True
        self.signal_after_log: int | None = None
        self._decoder = Decoder(FROM_INSTANCE)
        self._frames: deque[Frame] = deque()
        self.answer: Callable[[int, Answer], None] = self.send_answer
        self._uploads: dict[int, tuple[FetchHead, list[bytes]]] = {}
        self._next_stream = 2
        self.pid = os.fork()
        if self.pid == 0:
            self.wire.close()
            bootstrap.main(theirs.detach(), str(self.app_dir))
        theirs.close()
        self.reaped: int | None = None

    def frame(self) -> Frame:
        while not self._frames:
            data = self.wire.recv(1 << 16)
            if not data:
                raise EOFError("the instance closed the wire")
            self._frames.extend(self._decoder.feed(data))
        return self._frames.popleft()

    def load(
        self,
        modules: str | dict[str, str],
        *,
        main: str = "worker.py",
        entrypoint: str | None = None,
        env: dict[str, object] | None = None,
        log_bytes: int = 256 * 1024,
        bytecode: dict[str, bytes] | None = None,
    ) -> Ready | Failed:
        if isinstance(modules, str):
            modules = {main: modules}
        contents = [text.encode() for text in modules.values()]
        sizes = list(zip(modules, map(len, contents), strict=True))
        assert self.frame().type == FrameType.HELLO
        compiled = [bytecode.get(name, b"") for name in modules] if bytecode else []
        init = Init(
            sizes,
            main,
            entrypoint,
            env or {},
            "script",
            "v1",
            log_bytes,
            bytecode=[len(each) for each in compiled],
        )
        self._send_script(init, [*compiled, *contents])
        while True:
            while self.outside and self.signal_after_log and not self._arrived():
                self.signal(self.signal_after_log)
            frame = self.frame()
            if frame.type == FrameType.READY:
                return decode_struct(Ready, frame.payload)
            if frame.type == FrameType.FAILED:
                return decode_struct(Failed, frame.payload)
            self._dispatch(frame)

    def compile(self, modules: dict[str, bytes]) -> dict[str, bytes]:
        """Have modules compiled, not run; empty for those that could not be."""
        sizes = [(name, len(content)) for name, content in modules.items()]
        assert self.frame().type == FrameType.HELLO
        self._send_script(Init(sizes, "", None, {}, "", "", compiles=True), [*modules.values()])
        received, ended = b"", False
        while not ended:
            frame = self.frame()
            assert (frame.type, frame.stream) == (FrameType.BODY, 0)
            received += frame.payload
            ended = bool(frame.flags & END)
        compiled = {}
        for name in modules:
            end = LENGTH_SIZE + int.from_bytes(received[:LENGTH_SIZE], "little")
            compiled[name], received = received[LENGTH_SIZE:end], received[end:]
        assert not received
        return compiled

    def _send_script(self, init: Init, contents: list[bytes]) -> None:
        self.wire.sendall(encode_struct(FrameType.INIT, 0, init))
        for content in contents:
            self.wire.sendall(encode(FrameType.BODY, 0, content))
        self.wire.sendall(encode(FrameType.BODY, 0, b"", END))

    def open(
        self,
        path: str = "/",
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        mount: str = "",
        stream_body: bool = False,
    ) -> int:
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        pairs = [(k.encode(), v.encode()) for k, v in (headers or {}).items()]
        if body is not None:
            pairs.append((b"content-length", str(len(body)).encode()))
        raw_path, _, query = path.partition("?")
        head = RequestHead(
            method,
            "https",
            "hello.example.com:8443",
            raw_path.encode(),
            query.encode(),
            [(b"host", b"hello.example.com:8443"), *pairs],
            ("192.0.2.7", 4711),
            mount,
            "ray",
        )
        self.replies[stream] = Reply()
        self.credit[stream] = WINDOW
        bodiless = body is None and not stream_body
        self.wire.sendall(encode_struct(FrameType.REQUEST, stream, head, END if bodiless else 0))
        if body is not None:
            self.send_body(stream, body, end=True)
        return stream

    def schedule(self, cron: str, at_ms: int) -> Reply:
        """Call it as a schedule does, and wait until it is over."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        head = RequestHead("", "", "", b"", b"", [], None, "", "ray", 0, (cron, at_ms))
        self.replies[stream] = Reply()
        self.credit[stream] = WINDOW
        self.wire.sendall(encode_struct(FrameType.REQUEST, stream, head, END))
        return self.finish(stream)

    def send_body(self, stream: int, data: bytes, *, end: bool) -> None:
        self.wire.sendall(encode(FrameType.BODY, stream, data, END if end else 0))

    def cancel(self, stream: int, *, at_once: bool = False) -> None:
        self.wire.sendall(encode(FrameType.CANCEL, stream, flags=END if at_once else 0))

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def signal_until_done(self, stream: int, number: int) -> None:
        """Send a signal each millisecond until the invocation is over, as the watchdog does."""
        reply = self.replies[stream]
        while not reply.done:
            self.signal(number)
            if self._arrived():
                self._dispatch(self.frame())

    def _arrived(self) -> bool:
        """Whether something comes within a millisecond."""
        return bool(self._frames or select.select([self.wire], [], [], 0.001)[0])

    def drain(self) -> None:
        self.wire.sendall(encode(FrameType.DRAIN, 0))

    def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._dispatch(self.frame())

    def finish(self, stream: int) -> Reply:
        reply = self.replies[stream]
        self.until(lambda: reply.done)
        return reply

    def get(self, path: str = "/", **options: object) -> Reply:
        return self.finish(self.open(path, **options))  # type: ignore[arg-type]

    def _dispatch(self, frame: Frame) -> None:
        if frame.stream & 1:
            self._on_subrequest(frame)
            return
        if frame.type == FrameType.LOG and frame.stream == 0:
            self.outside.append(decode_struct(LogRecord, frame.payload))
            return
        reply = self.replies[frame.stream]
        assert not reply.done, "a frame after DONE"
        if frame.type in (FrameType.RESPONSE, FrameType.BODY, FrameType.ANSWER):
            self._on_response(frame, reply)
        elif frame.type == FrameType.LOG:
            reply.logs.append(decode_struct(LogRecord, frame.payload))
        elif frame.type == FrameType.EXTEND:
            reply.asked += 1
        elif frame.type == FrameType.EXCEPTION:
            reply.exceptions.append(decode_struct(ExceptionRecord, frame.payload))
            reply.ended_before_exception = reply.ended
        elif frame.type == FrameType.DONE:
            assert reply.ended or reply.exceptions, "DONE without an answer"
            reply.done = True
        elif frame.type == FrameType.CREDIT:
            self.credit[-frame.stream] = self.credit.get(-frame.stream, 0) + decode_credit(
                frame.payload
            )

    def _on_response(self, frame: Frame, reply: Reply) -> None:
        if frame.type == FrameType.RESPONSE:
            head = decode_struct(ResponseHead, frame.payload)
            assert not reply.status, "two response heads"
            reply.status, reply.headers = head.status, head.headers
        elif frame.type == FrameType.BODY:
            assert reply.status, "a body before its head"
            assert not reply.ended, "a body after its end"
            self.credit[frame.stream] -= len(frame.payload)
            assert self.credit[frame.stream] >= 0, "more than there was credit for"
            reply.chunks.append(frame.payload)
            reply.ended = bool(frame.flags & END)
            if self.give_credit:
                self.grant(frame.stream, len(frame.payload))
        else:
            assert not reply.status, "two answers"
            encoded, body = split_answer(frame.payload)
            head = decode_struct(ResponseHead, encoded)
            reply.status, reply.headers = head.status, head.headers
            reply.chunks.append(body)
            reply.ended = reply.done = True

    def grant(self, stream: int, amount: int) -> None:
        if amount:
            self.credit[stream] = self.credit.get(stream, 0) + amount
            self.wire.sendall(encode_credit(stream, amount))

    def _on_subrequest(self, frame: Frame) -> None:
        if frame.type == FrameType.FETCH:
            head = decode_struct(FetchHead, frame.payload)
            self._uploads[frame.stream] = (head, [])
        elif frame.type == FrameType.CANCEL:
            self.cancelled.append(frame.stream)
            return
        elif frame.type == FrameType.BODY:
            self._uploads[frame.stream][1].append(frame.payload)
            self.grant(frame.stream, len(frame.payload))
        else:
            return
        if frame.flags & END:
            head, chunks = self._uploads.pop(frame.stream)
            self.fetches.append((head, b"".join(chunks)))
            if self.fetch is not None:
                self.answer(frame.stream, self.fetch(*self.fetches[-1]))

    def send_answer(self, stream: int, answer: Answer) -> None:
        if isinstance(answer, FetchError):
            self.wire.sendall(encode_struct(FrameType.FETCH_ERROR, stream, answer))
            return
        head, body = answer
        self.wire.sendall(encode_struct(FrameType.FETCHED, stream, head))
        self.wire.sendall(encode(FrameType.BODY, stream, body, END))

    def wait(self) -> int:
        """The exit status, once the instance has ended by itself."""
        if self.reaped is None:
            self.reaped = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.reaped

    def kill(self) -> None:
        self.wire.close()
        if self.reaped is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()


def ok(head: FetchHead, body: bytes) -> Answer:
    """Answer a subrequest with what it asked."""
    text = f"{head.method} {head.url} {body.decode()}".encode()
    return FetchedHead(200, "OK", [(b"content-type", b"text/plain")], head.url, False), text
