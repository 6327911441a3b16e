"""Live tails: what happens now, for whoever listens now. Nothing is kept for later.

A slow listener loses the oldest items and is told how many; it can never slow a request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self

from gateway.errors import WaypostError
from gateway.model.invocation import Invocation
from gateway.model.script import Script
from gateway.observer import Observer
from gateway.telemetry.trace import deployment_item, trace_item

MAX_QUEUED: Final = 1000
"""Items that wait for one listener."""
MAX_QUEUED_BYTES: Final = 8 << 20
"""Bytes that wait for one listener."""
MAX_BYTES: Final = 128 << 20
"""Bytes that wait for all of them; beyond, whoever has most waiting loses its oldest items."""
A_TURN: Final = 256 * 1024
"""Bytes that listeners are given in one turn of the event loop, the last item not counted."""
MAX_PER_TOPIC: Final = 10
"""Listeners to the same script, tenant or namespace."""
MAX_SUBSCRIPTIONS: Final = 1000
"""Listeners of this node."""
MAX_COMING: Final = 16
"""Topics that were asked for and that nobody listens to yet."""


class TailFull(WaypostError):
    """Too many listen already; close another tail first."""


class Wanted(Protocol):
    """What a listener wants to see of what it listens to."""

    @property
    def news(self) -> bool:
        """Whether it wants to be told of deployments."""

    def matches(self, invocation: Invocation) -> bool:
        """Whether it wants to see this one."""


class Topic(NamedTuple):
    """What a subscription wants; None is any."""

    namespace: str | None
    script: str | None
    tenant: str | None


_NOTHING: Final = Topic(None, None, None)


class TailSubscription:
    """One listener: ``async with`` registers it, ``async for`` gives JSON documents."""

    def __init__(self, hub: TailHub, topic: Topic, wanted: Wanted | None) -> None:
        self._hub = hub
        self._topic = topic
        self.wanted = wanted
        self._queue: deque[bytes] = deque()
        self.waiting = 0
        """Bytes that wait."""
        self._wake = asyncio.Event()
        self._ended = False
        self.dropped = 0
        """Items lost because this listener was too slow."""

    async def __aenter__(self) -> Self:
        self._hub._add(self._topic, self)
        if self._hub.in_force is not None:
            try:
                await self._hub.in_force()
            except BaseException:
                self._hub._remove(self._topic, self)
                raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._hub._remove(self._topic, self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not (self._queue and self._hub.may_give()):
            if self._queue:
                await self._hub.turn()
                continue
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        item = self._pop()
        self._hub.gave(len(item))
        return item

    def more(self) -> list[bytes]:
        """Items that can be had without waiting: to give them one by one costs more than they."""
        items = []
        while self._queue and self._hub.may_give():
            items.append(self._pop())
            self._hub.gave(len(items[-1]))
        return items

    def put(self, item: bytes) -> None:
        """Queue an item, in place of the oldest when there is no room."""
        self._queue.append(item)
        self.waiting += len(item)
        self._hub.waiting += len(item)
        while len(self._queue) > MAX_QUEUED or self.waiting > MAX_QUEUED_BYTES:
            self.drop()
        self._wake.set()

    def drop(self) -> None:
        """Lose the oldest item."""
        self._pop()
        self.dropped += 1

    def clear(self) -> None:
        """Nobody reads any more."""
        while self._queue:
            self._pop()

    def _pop(self) -> bytes:
        item = self._queue.popleft()
        self.waiting -= len(item)
        self._hub.waiting -= len(item)
        return item

    def end(self) -> None:
        """No more items will come; those queued can still be read."""
        self._ended = True
        self._wake.set()


class TailHub(Observer):
    """Passes each invocation to those who listen to its script, tenant or namespace."""

    def __init__(self) -> None:
        self._topics: dict[Topic, list[TailSubscription]] = {}
        self._shapes: list[tuple[bool, bool, bool]] = []
        self._count = 0
        self.waiting = 0
        """Bytes that wait for listeners."""
        self._given = 0
        """Bytes that listeners were given in this turn."""
        self._turns: list[asyncio.Future[None]] = []
        """Those who wait for the next one."""
        self._closed = False
        self._coming: set[Topic] = set()
        self.on_topics: Callable[[list[Topic]], None] | None = None
        """Told of all that is listened to, or is about to be, whenever it changes."""
        self.in_force: Callable[[], Awaitable[None]] | None = None
        """Returns when everybody who was told of it heeds it."""

    def subscribe(
        self,
        *,
        script: str | None = None,
        tenant: str | None = None,
        namespace: str | None = None,
        wanted: Wanted | None = None,
    ) -> TailSubscription:
        """Listen to what matches all that is given; nothing given: to everything.

        Raises TailFull at once when there is no room; entering the subscription may still raise it.
        """
        topic = Topic(namespace, script, tenant)
        self._check_room(topic)
        if topic not in self._topics and self.on_topics is not None:
            # Those who asked and have not come yet are few, and forgotten when others come.
            self._coming = {*self._coming, topic} if len(self._coming) < MAX_COMING else {topic}
            self.on_topics([*self._topics, *self._coming])
        return TailSubscription(self, topic, wanted)

    def lost(self, count: int) -> None:
        """So many items were lost on their way here; whose they were is not known."""
        for listeners in self._topics.values():
            for listener in listeners:
                listener.dropped += count

    def invocation(self, invocation: Invocation) -> None:
        """Write it as a TraceItem when somebody listens, once for all of them."""
        if not self._shapes:
            return
        route = invocation.route
        about = Topic(*route.key, route.tenant) if route else None
        item = b""
        for listener in self._listeners(about):
            if listener.wanted is None or listener.wanted.matches(invocation):
                item = item or trace_item(invocation)
                self._put(listener, item)

    def deployed(self, script: Script, why: str, message: str) -> None:
        """Tell of a new deployment those who want to know."""
        about = Topic(*script.key, script.tenant)
        item = b""
        for listener in self._listeners(about):
            if listener.wanted is not None and listener.wanted.news:
                item = item or deployment_item(script, why, message)
                self._put(listener, item)

    def may_give(self) -> bool:
        """Whether a listener may have its next item in this turn of the event loop.

        What is sent to all of them is copied in the same time that requests are served in.
        """
        return self._given < A_TURN

    def gave(self, size: int) -> None:
        """One got an item of so many bytes."""
        if not self._given:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._given += size

    async def turn(self) -> None:
        """Wait for the next turn."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.append(future)
        await future

    def _next_turn(self) -> None:
        self._given = 0
        waiting, self._turns = self._turns, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _put(self, listener: TailSubscription, item: bytes) -> None:
        listener.put(item)
        while self.waiting > MAX_BYTES:
            everybody = (one for listeners in self._topics.values() for one in listeners)
            max(everybody, key=lambda one: one.waiting).drop()

    def _listeners(self, about: Topic | None) -> Iterator[TailSubscription]:
        """Who listens to this; None: to what is nobody's."""
        for shape in self._shapes:
            if about is None and any(shape):
                continue
            fields = zip(about or _NOTHING, shape, strict=True)
            topic = Topic(*(field if chosen else None for field, chosen in fields))
            yield from self._topics.get(topic, ())

    def close(self) -> None:
        """End every subscription, so that streams to clients can finish."""
        self._closed = True
        for listeners in list(self._topics.values()):
            for listener in listeners:
                listener.end()

    @property
    def listeners(self) -> int:
        """How many listen."""
        return self._count

    def _check_room(self, topic: Topic) -> None:
        if len(self._topics.get(topic, ())) >= MAX_PER_TOPIC:
            raise TailFull(f"{MAX_PER_TOPIC} tails of this are open already; close one of them")
        if self._count >= MAX_SUBSCRIPTIONS:
            raise TailFull(f"{MAX_SUBSCRIPTIONS} tails are open on this node; try again later")

    def _add(self, topic: Topic, listener: TailSubscription) -> None:
        self._check_room(topic)
        self._coming.discard(topic)
        self._topics.setdefault(topic, []).append(listener)
        self._count += 1
        self._update_shapes()
        if self._closed:
            listener.end()

    def _remove(self, topic: Topic, listener: TailSubscription) -> None:
        listeners = self._topics.get(topic, [])
        if listener not in listeners:
            return
        listeners.remove(listener)
        listener.clear()
        self._count -= 1
        if not listeners:
            del self._topics[topic]
        self._update_shapes()

    def _update_shapes(self) -> None:
        """Which fields topics are made of: one look-up for each shape finds every listener."""
        self._shapes = sorted(
            {
                (topic.namespace is not None, topic.script is not None, topic.tenant is not None)
                for topic in self._topics
            }
        )
        if self.on_topics is not None:
            self.on_topics(list({*self._topics, *self._coming}))
