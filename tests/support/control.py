"""The control plane in one process: a real store, real use-cases, and a scripted sandbox below."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from gateway.accounts import ensure_operator_token
from gateway.api import Services, create_api
from gateway.config import Config
from gateway.errors import StartFailed, WaypostError
from gateway.model.http import Request
from gateway.model.invocation import Invocation
from gateway.model.plan import Limits
from gateway.model.script import Script, ScriptKey, Version
from gateway.store.sqlite import SqliteStore
from sandbox import Outcome
from sandbox.payloads import Failed, Ready

OPERATOR = "wp_operator-token-for-tests-only"
NAMESPACES = "/client/v4/accounts/{account}/workers/dispatch/namespaces"
HELLO = b"async def on_fetch(request, env, ctx):\n    ...\n"


class ScriptedCandidate:
    """A started instance, as far as the catalogue can see."""

    def __init__(self, launcher: ScriptedLauncher, version: Version) -> None:
        self.ready = Ready("worker", True, ["fetch"])
        self.startup_ms = 7
        self._launcher = launcher
        self._version = version

    def adopt(self) -> None:
        self._launcher.events.append(f"adopt {self._version.key.name}")

    def discard(self) -> None:
        self._launcher.events.append(f"discard {self._version.key.name}")


class ScriptedLauncher:
    """Starts whatever it is given, unless told what to raise next."""

    def __init__(self, events: list[str]) -> None:
        self.events = events
        self.launched: list[tuple[Version, Limits]] = []
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.starts: asyncio.Queue[str] = asyncio.Queue()
        self.running = 0
        self.most_running = 0

    def fail(self, reason: str, name: str = "", message: str = "", file: str | None = None) -> None:
        self.failure = StartFailed(Failed(reason, name, message, "", file, 3 if file else None))

    async def launch(self, version: Version, limits: Limits) -> ScriptedCandidate:
        self.launched.append((version, limits))
        self.starts.put_nowait(version.key.name)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            if self.gate is not None:
                await self.gate.wait()
            if self.failure is not None:
                raise self.failure
        finally:
            self.running -= 1
        return ScriptedCandidate(self, version)


class RecordingChanges:
    """Writes down what changed, in order."""

    def __init__(self, events: list[str]) -> None:
        self.events = events
        self.told: list[tuple[str, str, str]] = []

    def hostname_changed(self, hostname: str) -> None:
        self.events.append(f"hostname {hostname}")

    def script_changed(self, key: ScriptKey) -> None:
        self.events.append(f"script {key.name}")

    def previews_changed(self, key: ScriptKey) -> None:
        """Told by the resolver's own tests."""

    def deployed(self, script: Script, why: str, message: str) -> None:
        self.told.append((script.key.name, why, message))

    def script_removed(self, key: ScriptKey) -> None:
        self.events.append(f"removed {key.name}")

    def tenant_removed(self, slug: str) -> None:
        self.events.append(f"removed tenant {slug}")

    def tenant_changed(self, slug: str) -> None:
        self.events.append(f"tenant {slug}")

    def everything_changed(self) -> None:
        self.events.append("everything")


class ScriptedSubscription:
    """Yields given items, then ends, or stays silent."""

    def __init__(self, items: Sequence[bytes], *, ends: bool) -> None:
        self._items = items
        self._ends = ends
        self.dropped = 0

    def more(self) -> list[bytes]:
        return []

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for item in self._items:
            yield item
        if not self._ends:
            await asyncio.Event().wait()


class ScriptedTail:
    """A tail source; remembers who subscribed and who is still there."""

    def __init__(self) -> None:
        self.items: list[bytes] = [b'{"outcome":"ok"}']
        self.ends = True
        self.dropped = 0
        self.subscribed: list[tuple[str | None, str | None]] = []
        self.wanted: object = None
        self.open = 0
        self.full = False
        self.full_meanwhile = False
        """The last place is taken between asking for it and taking it."""
        self.turns = 0
        """Turns of the loop that it takes to listen."""
        self.left = asyncio.Event()

    def subscribe(
        self,
        *,
        script: str | None = None,
        tenant: str | None = None,
        namespace: str | None = None,
        wanted: object = None,
    ) -> AbstractAsyncContextManager[ScriptedSubscription]:
        if self.full:
            raise WaypostError("too many listen")
        self.wanted = wanted
        self.subscribed.append((script, tenant))
        return self._subscription()

    @asynccontextmanager
    async def _subscription(self) -> AsyncIterator[ScriptedSubscription]:
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.full_meanwhile:
            raise WaypostError("too many listen")
        self.open += 1
        subscription = ScriptedSubscription(self.items, ends=self.ends)
        subscription.dropped = self.dropped
        try:
            yield subscription
        finally:
            self.open -= 1
            self.left.set()


async def _metrics() -> bytes:
    return b"# metrics\n"


class Control:
    """A control plane and clients of it."""

    def __init__(self, config: Config, store: SqliteStore) -> None:
        self.config = config
        self.store = store
        self.events: list[str] = []
        self.launcher = ScriptedLauncher(self.events)
        self.tail = ScriptedTail()
        self.ready = True
        self.services: Services = Services.build(
            config=config,
            store=store,
            changes=RecordingChanges(self.events),
            launcher=self.launcher,
            tail=self.tail,
            render_metrics=_metrics,
            readiness=lambda: (self.ready, {"level": "full"}),
        )
        self.services.schedules.caller = self._call
        self.called: list[tuple[ScriptKey, str]] = []
        """Scripts that were called as by their schedules."""
        self.app = create_api(self.services)

    async def _call(self, key: ScriptKey, expression: str, time_ms: int) -> Invocation:
        self.called.append((key, expression))
        request = Request("ray", "", "", "", "", b"", b"", [], None, "")
        return Invocation(request, time_ms, 0, outcome=Outcome.OK)

    def client(self, token: str | None = OPERATOR) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(app=self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers)

    async def tenant(self, slug: str, **fields: Any) -> str:
        """Create a tenant; returns a token of its own."""
        await self.services.tenants.put(slug, **fields)
        return (await self.services.tokens.issue(slug)).token


@asynccontextmanager
async def control_plane(folder: Path, config: Config | None = None) -> AsyncIterator[Control]:
    """A control plane over a fresh store, with the operator's token."""
    store = SqliteStore(folder / "waypost.db")
    await store.open()
    try:
        await ensure_operator_token(store, OPERATOR)
        control = Control(config or Config(), store)
        yield control
    finally:
        await store.close()


def script_path(name: str, account: str = "platform", namespace: str = "production") -> str:
    """Path of a script."""
    return f"{NAMESPACES.format(account=account)}/{namespace}/scripts/{name}"


def upload_parts(
    metadata: Mapping[str, Any] | None = None, **modules: bytes
) -> dict[str, tuple[str | None, bytes, str]]:
    """Multipart parts as wrangler sends them; ``entry=b"…"`` is the module ``entry.py``."""
    document = {"main_module": "entry.py", **(metadata or {})}
    parts: dict[str, tuple[str | None, bytes, str]] = {
        "metadata": (None, msgspec.json.encode(document), "application/json")
    }
    for name, content in (modules or {"entry": HELLO}).items():
        parts[f"{name}.py"] = (f"{name}.py", content, "text/x-python")
    return parts
