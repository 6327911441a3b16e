"""A follower's side: does what the leader says, and tells it what happens here."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Coroutine
from typing import Any, Final

import msgspec

from gateway.catalog.rollback import FAILURES
from gateway.handover import die_with
from gateway.model.invocation import Invocation
from gateway.model.script import ScriptKey
from gateway.observer import Changes, Observer
from gateway.processes import frames
from gateway.processes.place import Place
from gateway.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 16 << 20
"""Bytes that wait for the leader; invocations beyond are lost, and counted."""
JUDGE_SECONDS: Final = 0.2
"""How often failures are told."""


class Link(Observer):
    """The bus to the leader, and an observer that passes on what is asked for there."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        place: Place | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._place = place
        self._alone = False
        """The leader is gone."""
        self._topics: set[frames.Topic] = set()
        self._lost = 0
        self._judged: dict[tuple[ScriptKey, str], list[int]] = {}
        self._judging = False
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, place: Place) -> Link:
        """Connect to the leader."""
        return cls(*await asyncio.open_unix_connection(sock=place.bus), place)

    async def setup(self) -> frames.Setup:
        """What the leader says first. Raises BadFrame."""
        frame = await self._next()
        if not isinstance(frame, frames.Setup):
            raise frames.BadFrame("no setup came")
        return frame

    async def opened(self) -> None:
        """Return when the store is there. Raises BadFrame."""
        if not isinstance(await self._next(), frames.Open):
            raise frames.BadFrame("no word of the store came")

    async def ready(self, changes: Changes, metrics: Metrics) -> None:
        """Say that all is there, and return when connections are to be taken. Raises BadFrame."""
        self._send(frames.Ready())
        while not isinstance(frame := await self._next(), frames.Begin):
            self._obey(frame, changes, metrics)

    def serving(self) -> None:
        """Say that connections are taken. From here on this process may outlive its leader."""
        if self._place is not None:
            die_with(None)
        self._send(frames.Serving())

    def leaderless(self, following: asyncio.Task[None]) -> None:
        """Go on without a leader for as long as no other node serves; to be called when ``follow``
        has ended."""
        if following.cancelled():
            return
        logger.error("no leader any more", extra={"error": repr(following.exception())})
        self._alone = True
        self._topics = set()
        if self._place is None or following.exception() is not None:
            os.kill(os.getpid(), signal.SIGTERM)
            return
        # What it held is nobody's now.
        self._place.cells.clear(0)
        self._keep(self._place.lineage.outlive(self._place.leader_pid))

    async def follow(self, changes: Changes, metrics: Metrics) -> None:
        """Do what the leader says until it is gone. Raises BadFrame."""
        while (frame := await frames.read(self._reader, frames.from_leader)) is not None:
            self._obey(frame, changes, metrics)

    def watch_failures(self) -> None:
        """Tell how many requests fail; without it nobody wants to know."""
        self._judging = True
        asyncio.get_running_loop().call_later(JUDGE_SECONDS, self._judge)

    async def _next(self) -> Any:
        frame = await frames.read(self._reader, frames.from_leader)
        if frame is None:
            raise frames.BadFrame("the leader is gone")
        return frame

    def _obey(self, frame: frames.FromLeader, changes: Changes, metrics: Metrics) -> None:
        match frame:
            case frames.Changed():
                about = [item[0] if len(item) == 1 else ScriptKey(*item) for item in frame.about]
                getattr(changes, frame.what)(*about)
                self._send(frames.Done(frame.number))
            case frames.Listened():
                self._topics = set(frame.topics)
                self._send(frames.Done(frame.number))
            case frames.Count():
                self._keep(self._count(metrics))
            case _:
                raise frames.BadFrame(f"{type(frame).__name__} at the wrong time")

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _count(self, metrics: Metrics) -> None:
        # Thousands of series take long to write down: requests go on meanwhile.
        text = await asyncio.to_thread(metrics.render)
        for start in range(0, len(text), frames.PIECE):
            piece = text[start : start + frames.PIECE]
            self._send(frames.Counted(piece, last=start + frames.PIECE >= len(text)))

    def _send(self, frame: frames.FromFollower) -> None:
        if self._alone:
            return
        self._writer.write(frames.written(frame))

    # gateway.observer.Observer

    def invocation(self, invocation: Invocation) -> None:
        """Pass on what somebody listens to, and count failures where they are judged."""
        route = invocation.route
        if self._judging and route is not None:
            counts = self._judged.setdefault((route.key, route.version_id), [0, 0])
            counts[0] += 1
            counts[1] += invocation.outcome in FAILURES
        if self._topics and self._is_listened_to(invocation):
            self._pass_on(invocation)

    def _is_listened_to(self, invocation: Invocation) -> bool:
        if (None, None, None) in self._topics:
            return True
        route = invocation.route
        if route is None:
            return False
        (namespace, name), tenant = route.key, route.tenant
        return any(
            (ours, script, owner) in self._topics
            for ours in (namespace, None)
            for script in (name, None)
            for owner in (tenant, None)
        )

    def _pass_on(self, invocation: Invocation) -> None:
        if self._writer.transport.get_write_buffer_size() > MAX_WAITING:
            self._lost += 1
            return
        try:
            frame = frames.written(frames.Seen(frames.invocation_written(invocation)))
        except (frames.BadFrame, msgspec.MsgspecError, TypeError, ValueError, OverflowError):
            logger.exception("an invocation cannot be told", extra={"ray": invocation.request.ray})
            self._lost += 1
            return
        if self._lost:
            self._send(frames.Lost(self._lost))
            self._lost = 0
        self._writer.write(frame)

    def _judge(self) -> None:
        judged, self._judged = self._judged, {}
        for (key, version_id), (total, failed) in judged.items():
            self._send(frames.Judged(key, version_id, total, failed))
        asyncio.get_running_loop().call_later(JUDGE_SECONDS, self._judge)
