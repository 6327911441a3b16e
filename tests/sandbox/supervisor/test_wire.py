"""The wire between gateway and instance."""

from __future__ import annotations

import os

from sandbox.protocol import CHUNK, HEADER_SIZE
from sandbox.supervisor.control import make_wire


def test_an_instance_that_streams_writes_on_while_the_gateway_does_something_else() -> None:
    ours, theirs = make_wire()
    with ours, theirs:
        theirs.setblocking(False)
        frames = [bytes(HEADER_SIZE + CHUNK)] * 8
        # What a kernel gives that was not told otherwise holds three.
        assert os.writev(theirs.fileno(), frames) >= 5 * len(frames[0])
