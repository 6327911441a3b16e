"""How late the event loop is: what an operator looks at to see whether a process is overloaded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

LOOK_SECONDS: Final = 0.1
"""How often it is looked at."""


async def watch_lag(tell: Callable[[int], None]) -> None:
    """Tell for ever how late the loop does what is due, in nanoseconds."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LOOK_SECONDS
        await asyncio.sleep(LOOK_SECONDS)
        tell(max(0, int((loop.time() - due) * 1e9)))
