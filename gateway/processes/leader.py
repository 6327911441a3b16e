"""The leader's side: starts the other processes, heals them, tells them of changes.

A follower lives no longer than its leader, and has nothing that another would not have after its
start. So whatever is wrong with one (it died, it does not answer, it says what makes no sense) has
one cure: it is ended, what it held is given back, and another takes its place.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.catalog.rollback import Rollbacks
from gateway.config import Config
from gateway.errors import ConfigError
from gateway.model.script import ScriptKey
from gateway.processes import frames, place
from gateway.processes.cells import Cells
from gateway.processes.handle import Follower
from gateway.processes.lineage import Lineage
from gateway.processes.mailbox import Mailboxes
from gateway.telemetry.merge import MOST_KEPT, Merged
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tail import TailHub, Topic

logger = logging.getLogger(__name__)

START_SECONDS: Final = 60.0
"""What a follower may take to serve."""
ANSWER_SECONDS: Final = 3.0
"""What one may take to say that a change is in force, or what it has counted."""
GRACE_SECONDS: Final = 0.5
LEAST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 10.0
STEADY_SECONDS: Final = 60.0
"""A follower that served for so long and died is started again at once."""
DRAIN_SECONDS: Final = 40.0
"""What one may take to end in order, its drain included."""


class Followers:
    """All of them; see ``gateway.processes.frames`` for what is said."""

    def __init__(
        self,
        config: Config,
        cells: Cells,
        tenants: socket.socket,
        tail: TailHub,
        rollbacks: Rollbacks,
        lineage: Lineage,
        boxes: Mailboxes,
    ) -> None:
        self._lineage = lineage
        self._boxes = boxes
        self._config = config
        self._cells = cells
        self._tenants = tenants
        self._tail = tail
        self._rollbacks = rollbacks
        self._live: dict[int, Follower] = {}
        self._last: dict[int, bytes] = {}
        """What each has counted, as last asked."""
        self._past = Merged()
        """What those that are gone had counted."""
        self._tasks: list[asyncio.Task[None]] = []
        self._number = 0
        self._topics: list[frames.Topic] = []
        self._opened = False
        self._ending = False

    # Life

    def start(self) -> None:
        """Start them; they wait for the store."""
        for index in range(1, self._cells.processes):
            follower = self._spawn(index)
            self._tasks.append(asyncio.create_task(self._keep(index, follower)))

    async def open(self) -> None:
        """Have them open the store and serve. Raises ConfigError when one does not."""
        self._opened = True
        first = list(self._live.values())
        for follower in first:
            follower.send(frames.Open())
        await asyncio.wait([follower.serving for follower in first], timeout=START_SECONDS)
        failed = [one for one in first if not one.serving.done() or one.gone.done()]
        if failed or len(first) < self._cells.processes - 1:
            raise ConfigError("one of the processes did not start; the log says why")
        self._tail.on_topics = self._listen
        self._tail.in_force = self.settled

    @property
    def serving(self) -> int:
        """How many serve."""
        return sum(one.attached and one.serving.done() for one in self._live.values())

    def retire(self) -> None:
        """Have them take no new connections and end when those they have are over."""
        self._ending = True
        self._signal(signal.SIGUSR2)

    def end(self) -> None:
        """Have them drain and end."""
        self._ending = True
        self._signal(signal.SIGTERM)

    async def close(self) -> None:
        """Wait until all have ended, and end those that do not."""
        self.end()
        live = [one.gone for one in self._live.values()]
        if live:
            await asyncio.wait(live, timeout=DRAIN_SECONDS)
        self._signal(signal.SIGKILL)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if live:
            await asyncio.wait(live)

    def _signal(self, number: signal.Signals) -> None:
        for follower in self._live.values():
            follower.signal(number)

    def _spawn(self, index: int) -> Follower:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            descriptors = (theirs.fileno(), self._cells.descriptor, self._tenants.fileno())
            boxes = self._boxes.descriptors(index)
            process = subprocess.Popen(  # noqa: S603 — the command that started this program
                [sys.executable, *sys.orig_argv[1:]],
                env={
                    **os.environ,
                    place.VARIABLE: place.written(
                        index, self._cells.processes, descriptors, self._lineage, boxes
                    ),
                },
                pass_fds=(*descriptors, self._lineage.serving, *boxes),
            )
        follower = self._live[index] = Follower(process, ours)
        return follower

    async def _keep(self, index: int, follower: Follower) -> None:
        """Look after one place for ever."""
        pause = LEAST_PAUSE
        while True:
            since = time.monotonic()
            await self._run(follower)
            self._forget(index)
            if self._ending:
                return
            if time.monotonic() - since > STEADY_SECONDS:
                pause = LEAST_PAUSE
            logger.error(
                "a process ended; another starts",
                extra={"place": index, "status": follower.gone.result(), "seconds": pause},
            )
            await asyncio.sleep(pause)
            if self._ending:
                return
            pause = min(pause * 2, LONGEST_PAUSE)
            follower = self._spawn(index)

    def _forget(self, index: int) -> None:
        del self._live[index]
        self._cells.clear(index)
        self._boxes.reclaim(index)
        last = Merged()
        last.add(self._last.pop(index, b""), process=index)
        if self._past.size + last.size <= MOST_KEPT:
            self._past.add_counts(last)

    async def _run(self, follower: Follower) -> None:
        """Listen to one until it is gone."""
        late = asyncio.get_running_loop().call_later(
            START_SECONDS, self._look_whether_serving, follower
        )
        try:
            reader = await follower.connect()
            follower.send(frames.Setup(self._config))
            if self._opened:
                follower.send(frames.Open())
            while (frame := await frames.read(reader, frames.from_follower)) is not None:
                self._hear(follower, frame)
        except (frames.BadFrame, OSError) as error:
            logger.error("a process cannot be understood", extra={"error": str(error)})
        finally:
            late.cancel()
            if not self._ending:
                follower.signal(signal.SIGKILL)
        await asyncio.shield(follower.gone)

    def _look_whether_serving(self, follower: Follower) -> None:
        if not follower.serving.done():
            follower.signal(signal.SIGKILL)

    def _hear(self, follower: Follower, frame: frames.FromFollower) -> None:
        match frame:
            case frames.Ready():
                follower.attached = True
                self._number += 1
                follower.tell(frames.Listened(self._number, self._topics))
                follower.send(frames.Begin())
            case frames.Serving():
                if not follower.serving.done():
                    follower.serving.set_result(None)
            case frames.Done():
                follower.done(frame.number)
            case frames.Seen():
                self._seen(frame.invocation)
            case frames.Lost():
                self._tail.lost(frame.count)
            case frames.Judged():
                self._rollbacks.count(frame.key, frame.version_id, frame.total, frame.failed)
            case frames.Counted():
                follower.counted(frame.text, last=frame.last)

    def _seen(self, data: bytes) -> None:
        try:
            self._tail.invocation(frames.invocation_read(data))
        except msgspec.MsgspecError:
            logger.exception("an invocation cannot be read")
            self._tail.lost(1)

    # Changes

    def change(self, what: str, about: Sequence[str | ScriptKey]) -> None:
        """Tell all that a stored fact changed."""
        match (what, *about):
            case ("script_removed", ScriptKey() as key):
                self._past.forget(f'namespace="{key.namespace}"', f'script="{key.name}"')
            case ("tenant_removed", str() as slug):
                self._past.forget(f'tenant="{slug}"')
        self._number += 1
        parts = [[item] if isinstance(item, str) else list(item) for item in about]
        for follower in self._live.values():
            follower.tell(frames.Changed(self._number, what, parts))

    def _listen(self, topics: list[Topic]) -> None:
        self._topics = [*topics]
        self._number += 1
        for follower in self._live.values():
            follower.tell(frames.Listened(self._number, self._topics))

    async def settled(self) -> None:
        """Return when all that was told so far is in force; who does not say so is ended."""
        waiting = {one: list(one.due.values()) for one in self._live.values() if one.due}
        due = [future for futures in waiting.values() for future in futures]
        if not due:
            return
        _, late = await asyncio.wait(due, timeout=ANSWER_SECONDS)
        if late:
            # It may have been this process that had no time to read what they said.
            _, late = await asyncio.wait(late, timeout=GRACE_SECONDS)
        for follower, futures in waiting.items():
            if not late.isdisjoint(futures):
                logger.error("a process did not take up a change; it is ended")
                follower.signal(signal.SIGKILL)
        if late:
            # Their ends make them so.
            await asyncio.wait(late)

    # Numbers

    async def counted(self, metrics: Metrics) -> bytes:
        """What all processes counted, as Prometheus reads it."""
        await asyncio.gather(*(self._ask(index, one) for index, one in self._live.items()))
        texts = dict(sorted(self._last.items()))
        past = self._past.copy()

        def merge() -> bytes:
            merged = Merged()
            merged.add(metrics.render(), process=0)
            for index, text in texts.items():
                merged.add(text, process=index)
            merged.add_counts(past)
            return merged.render()

        return await asyncio.to_thread(merge)

    async def _ask(self, index: int, follower: Follower) -> None:
        if not follower.attached:
            return
        if follower.text is None or follower.text.done():
            follower.text = asyncio.get_running_loop().create_future()
            follower.send(frames.Count())
        done, _ = await asyncio.wait({follower.text}, timeout=ANSWER_SECONDS)
        if done and not follower.text.cancelled() and self._live.get(index) is follower:
            self._last[index] = follower.text.result()
