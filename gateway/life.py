"""The life of a process that serves: its event loop and log, and the signals that end it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine

import uvloop

from gateway.app import Node, Started
from gateway.config import Config
from gateway.dumps import leave_no_dump
from gateway.processes.follower import Link
from gateway.processes.frames import BadFrame
from gateway.processes.lineage import Lineage
from gateway.processes.place import Place
from gateway.sockets import Sockets
from gateway.telemetry.logs import configure_logging

logger = logging.getLogger(__name__)


def run(
    config: Config, *, sockets: Sockets, announce: Callable[[Started], None], lineage: Lineage
) -> int:
    """Run a node until SIGTERM or SIGINT, or until SIGUSR2 says that another follows it.

    Returns 0 when it ended in order. Raises ConfigError, and sandbox.HostUnfit when this host
    cannot hold untrusted code.
    """

    async def lead(environment: dict[str, str], told: asyncio.Future[signal.Signals]) -> int:
        node = Node(config)
        async with node.running(environment, sockets, lineage=lineage) as started:
            settle_heap()
            announce(started)
            if await told is signal.SIGUSR2:
                logger.info("retiring")
                await node.retire()
            logger.info("draining")
        return 0

    return _live(lead)


def follow(place: Place) -> int:
    """Serve beside a leader until it says otherwise. Returns 0 when it ended in order.

    Raises what ``run`` raises.
    """

    async def serve(environment: dict[str, str], told: asyncio.Future[signal.Signals]) -> int:
        place.lineage.end_with_manager()
        link = await Link.open(place)
        try:
            node = Node((await link.setup()).config, place.cells, place.boxes)
            async with node.following(environment, place.tenants, link):
                settle_heap()
                if await told is signal.SIGUSR2:
                    await node.retire()
        except BadFrame as error:
            logger.error("the leader cannot be understood", extra={"error": str(error)})
            return 1
        return 0

    return _live(serve)


def settle_heap() -> None:
    """Take what start-up made out of the collector's sight, and let it look less often: requests
    leave few cycles behind, and each full look at a large heap holds up every one of them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _live(
    work: Callable[[dict[str, str], asyncio.Future[signal.Signals]], Coroutine[None, None, int]],
) -> int:
    """Do the work with this process's environment and what signal will have come."""
    leave_no_dump()
    environment = dict(os.environ)
    configure_logging(json=not sys.stderr.isatty())
    # What uvicorn would say of a request is said by the corridor; a connection cut on purpose is
    # not an error of its application.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)

    async def main() -> int:
        return await work(environment, _signal_to_come())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def _signal_to_come() -> asyncio.Future[signal.Signals]:
    told: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()

    def tell(number: signal.Signals) -> None:
        if not told.done():
            told.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        told.get_loop().add_signal_handler(number, tell, number)
    return told
