"""A real node: real listeners on free ports, a real store, real jailed processes."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import uvloop

from gateway.app import Node, Started
from gateway.config import Config, Listen

OPERATOR_TOKEN = "wp_test-operator"
SCRIPTS = "/client/v4/accounts/platform/workers/dispatch/namespaces/production/scripts"


class LiveNode:
    """A running node, spoken to as its users do."""

    def __init__(self, started: Started, node: Node) -> None:
        self.started = started
        self.node = node
        self.url = f"http://127.0.0.1:{started.tenant_port}"
        self.api = httpx.Client(
            base_url=f"http://127.0.0.1:{started.api_port}",
            headers={"Authorization": f"Bearer {OPERATOR_TOKEN}"},
            timeout=60,
        )
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def close(self) -> None:
        self.api.close()
        self.client.close()

    def upload(self, name: str, modules: dict[str, str | bytes], **metadata: Any) -> httpx.Response:
        """PUT a script; the first module is the main one."""
        metadata.setdefault("main_module", next(iter(modules)))
        files: list[tuple[str, Any]] = [
            ("metadata", (None, json.dumps(metadata), "application/json"))
        ]
        for module, source in modules.items():
            kind = "text/x-python" if module.endswith(".py") else "text/plain"
            files.append((module, (module, source, kind)))
        return self.api.put(f"{SCRIPTS}/{name}", files=files)

    def deploy(
        self, name: str, source: str, *, plan: str | None = None, **metadata: Any
    ) -> dict[str, Any]:
        """Upload a one-file script and insist that it is taken."""
        if plan is not None:
            tenant = name.split("-")[0]
            self.api.put(f"/v1/tenants/{tenant}", json={"plan": plan}).raise_for_status()
        answer = self.upload(name, {"main.py": source}, **metadata)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()["result"]
        return result

    def request(
        self, name: str, path: str = "/", method: str = "GET", **more: Any
    ) -> httpx.Response:
        """Ask a script by its hostname below the base domain."""
        headers = {"Host": f"{name}.localhost", **more.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **more)

    @contextmanager
    def tail(self, name: str, query: str = "") -> Iterator[Tail]:
        """Listen to a script's tail."""
        tail = Tail(self.api, f"/v1/scripts/{name}/tail{query}")
        try:
            yield tail
        finally:
            tail.close()


class Tail:
    """Collects tail events in the background: those of what happens after it was opened.

    The event of a request follows its answer, so one that was answered before may still be told.
    """

    def __init__(self, api: httpx.Client, path: str) -> None:
        self.events: list[dict[str, Any]] = []
        self._opened = time.time() * 1000
        self._changed = threading.Condition()
        self._connected = threading.Event()
        self._client = httpx.Client(base_url=api.base_url, headers=api.headers, timeout=60)
        self._path = path
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._closing = False
        self._socket: socket.socket | None = None
        self._thread.start()
        assert self._connected.wait(60), "the tail did not connect"

    def _read(self) -> None:
        try:
            with self._client.stream("GET", self._path) as answer:
                answer.raise_for_status()
                self._socket = answer.extensions["network_stream"].get_extra_info("socket")
                self._connected.set()
                for line in answer.iter_lines():
                    if self._closing:
                        return
                    if line.startswith("data: "):
                        self._add(json.loads(line[6:]))
        except httpx.HTTPError:
            if not self._closing:
                raise

    def _add(self, event: dict[str, Any]) -> None:
        if event["eventTimestamp"] <= int(self._opened):
            return
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait(self, count: int = 1, timeout: float = 60) -> list[dict[str, Any]]:
        """The first ``count`` events, in the order in which what they tell of began.

        Two requests end in any order: an answer may be with its client before its invocation is
        over, and the next one is served by another process meanwhile.
        """
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.events) >= count, timeout)
            assert arrived, f"{len(self.events)} of {count} events arrived: {self.events}"
            return sorted(self.events, key=lambda event: event["eventTimestamp"])[:count]

    def find(self, wanted: Callable[[dict[str, Any]], bool], timeout: float = 60) -> dict[str, Any]:
        """The newest of the events that are wanted, once there is one."""

        def look() -> dict[str, Any] | None:
            return next((event for event in reversed(self.events) if wanted(event)), None)

        with self._changed:
            found = self._changed.wait_for(look, timeout)
            assert found is not None, f"not among {len(self.events)} events"
            return found

    def close(self) -> None:
        self._closing = True
        # Closing it would not do: while a thread reads from it, the kernel keeps the connection up.
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the tail is still read"
        self._client.close()


class _NodeThread:
    """Runs a node on an event loop of its own."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.started: Started | None = None
        self.error: BaseException | None = None
        self.ready = threading.Event()
        self._stop: Callable[[], object] | None = None
        self._thread = threading.Thread(target=self._run, name="node", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._stop is not None and self._thread.is_alive():
            self._stop()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the node did not stop"
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._main())
        except BaseException as error:
            self.error = error
        finally:
            self.ready.set()

    async def _main(self) -> None:
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        self._stop = partial(loop.call_soon_threadsafe, stopped.set)
        async with self.node.running({"WAYPOST_OPERATOR_TOKEN": OPERATOR_TOKEN}) as started:
            self.started = started
            self.ready.set()
            await stopped.wait()


@contextmanager
def live_node(
    data_dir: Path,
    change: Callable[[Config], Config] | None = None,
    make: Callable[[Config], Node] = Node,
) -> Iterator[LiveNode]:
    """A node in a thread of its own, for as long as the block."""
    config = Config(listen=Listen(port=0), api=Listen(port=0), data_dir=str(data_dir))
    thread = _NodeThread(make(change(config) if change is not None else config))
    assert thread.ready.wait(60), "the node did not start"
    if thread.started is None:
        thread.stop()
        raise AssertionError("the node ended at once")
    live = LiveNode(thread.started, thread.node)
    try:
        yield live
    finally:
        live.close()
        thread.stop()


def open_descriptors() -> int:
    """Descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))
