"""What the zygote does once, before it is jailed, so that instances find it done.

Importing is half of it: frameworks also build caches, regular expressions and validators at their
first request. So each is served a few requests through our own adapters.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.metadata
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from sandbox.payloads import ExceptionRecord, RequestHead, decode_struct, encode_struct
from sandbox.protocol import END, FROM_INSTANCE, Decoder, FrameType, encode
from sandbox.runtime import aliases, console, samples, vendored
from sandbox.runtime.adapter import Adapter
from sandbox.runtime.channel import Channel
from sandbox.runtime.loop import Server
from sandbox.runtime.trace import Tracer
from sandbox.runtime.wireloop import WireLoop

T = TypeVar("T")
logger = logging.getLogger(__name__)

_STANDARD = (
    "ast asyncio base64 bisect calendar collections colorsys concurrent.futures.thread contextlib "
    "copy csv dataclasses datetime decimal difflib email.message email.parser enum fractions "
    "functools gzip hashlib heapq hmac html html.parser http.client http.cookies inspect io "
    "ipaddress itertools json logging logging.config math mimetypes operator pathlib pickle "
    "pprint queue random re secrets sqlite3 statistics string struct tempfile textwrap threading "
    "time traceback typing unicodedata urllib.parse urllib.request uuid weakref "
    "xml.etree.ElementTree zipfile zlib zoneinfo encodings.idna encodings.latin_1"
).split()
_JOIN_SECONDS = 5.0
_LOG_BYTES = 8 * 1024
_THREAD_POLL_SECONDS = 0.001
_ONE_THREAD_EACH = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
"""What numeric libraries read before they start a pool of threads as they are loaded."""


def preload(packages: Sequence[str]) -> None:
    """Import the standard library's usual modules and the named distributions, and exercise them.

    Raises RuntimeError when a thread is left: forking with one would copy its locks, not it. What
    cannot be imported or exercised is logged and left out.
    """
    aliases.register()
    for name in _ONE_THREAD_EACH:
        # For C libraries only: os.environ, which tenants see, stays empty.
        os.putenv(name, "1")
    for name in _STANDARD:
        importlib.import_module(name)
    installed = importlib.metadata.packages_distributions() if packages else {}
    finder = vendored.MissFinder(vendored.platform)
    sys.meta_path.append(finder)
    try:
        for package in packages:
            _import_distribution(package, installed)
            _only_this_thread(package)
    finally:
        sys.meta_path.remove(finder)
    vendored.platform.remember(installed)
    console.set_level()
    exercise_all(packages)
    _only_this_thread("the samples")


def exercise_all(packages: Sequence[str]) -> None:
    """Serve the samples of the runtime and of the named frameworks."""
    for build in (samples.worker, samples.synchronous_worker, samples.wsgi):
        exercise("the runtime", build)
    for package, build in wanted(samples.FRAMEWORKS, packages):
        exercise(package, build)


def wanted(by_package: Mapping[str, T], packages: Sequence[str]) -> list[tuple[str, T]]:
    """Return what there is for the named packages."""
    normal = {_normal(package) for package in packages}
    return [(package, value) for package, value in by_package.items() if package in normal]


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _import_distribution(package: str, installed: Mapping[str, list[str]]) -> None:
    wanted = _normal(package)
    modules = sorted(
        name
        for name, owners in installed.items()
        if name.isidentifier() and any(_normal(owner) == wanted for owner in owners)
    )
    if not modules:
        logger.warning("package is not installed, skipped", extra={"package": package})
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception:
            logger.exception(
                "package could not be preloaded", extra={"package": package, "imported": module}
            )


def conversation(requests: Iterable[tuple[str, str, str, bytes]] = samples.REQUESTS) -> bytes:
    """Encode what the gateway says: these requests, and then that there are no more."""
    frames = (_request(2 * number + 2, *asked) for number, asked in enumerate(requests))
    return b"".join(frames) + encode(FrameType.DRAIN, 0)


def exercise(package: str, build: Callable[[], Adapter], said: bytes | None = None) -> None:
    """Serve a sample application on a loop and a socket of its own, both closed afterwards.

    Requests of every kind, and what they raised is looked at, unless it is ``said`` what is asked.
    """
    ours, theirs = socket.socketpair()
    loop = WireLoop()
    asyncio.set_event_loop(loop)
    try:
        server = Server(Channel(theirs), loop, Tracer(os.devnull), log_bytes=_LOG_BYTES)
        with _logging_to(server.recorder):
            adapter = build()
            server.run_until(adapter.startup())
            ours.sendall(said or conversation())
            server.serve(adapter)
        if said is None:
            _check_answers(package, ours.recv(1 << 20))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
    except Exception:
        logger.exception("package could not be exercised", extra={"package": package})
    finally:
        loop.close()
        asyncio.set_event_loop(None)
        ours.close()
        theirs.close()


@contextlib.contextmanager
def _logging_to(recorder: console.Recorder) -> Iterator[None]:
    """Log as in an instance for a while: uncaught exceptions of the samples are logged, too."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    streams = sys.stdout, sys.stderr
    console.install(recorder)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        if root.level != level:
            root.setLevel(level)
        sys.stdout, sys.stderr = streams
        console.console._recorder = None


def _check_answers(package: str, answers: bytes) -> None:
    for frame in Decoder(FROM_INSTANCE).feed(answers):
        if frame.type == FrameType.EXCEPTION:
            _check_exception(package, decode_struct(ExceptionRecord, frame.payload))


def _check_exception(package: str, record: ExceptionRecord) -> None:
    if record.name != samples.SampleError.__name__:
        logger.warning("sample raised", extra={"package": package, "error_message": record.message})


def _request(stream: int, method: str, path: str, kind: str, body: bytes) -> bytes:
    headers = [(b"host", b"warm.invalid"), (b"accept", b"*/*"), (b"user-agent", b"warm")]
    if body:
        headers += [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]
    raw_path, _, query = path.partition("?")
    head = RequestHead(
        method,
        "http",
        "warm.invalid",
        raw_path.encode(),
        query.encode(),
        headers,
        ("192.0.2.1", 1),
        "",
        "warm",
    )
    frame = encode_struct(FrameType.REQUEST, stream, head)
    return frame + encode(FrameType.BODY, stream, body, END)


def _only_this_thread(cause: str) -> None:
    """Wait for threads that end. Raises RuntimeError, naming the cause, when one stays."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(_JOIN_SECONDS)
    deadline = time.monotonic() + _JOIN_SECONDS
    while (tasks := _kernel_tasks()) > 1 and threading.active_count() == 1:
        if time.monotonic() > deadline:
            break
        # The kernel ends a thread a moment after the interpreter has joined it.
        time.sleep(_THREAD_POLL_SECONDS)
    if threading.active_count() != 1 or tasks != 1:
        names = [thread.name for thread in threading.enumerate()]
        raise RuntimeError(
            f"{cause} left threads behind when it was preloaded ({names}, {tasks} in the kernel): "
            "take it out of runtime.packages"
        )


def _kernel_tasks() -> int:
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
