"""Burn in a finalizer that the runtime's own frames may run."""

import asyncio
import time


class Slow:
    def __init__(self):
        self.me = self

    def __del__(self):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            pass


async def attempt():
    for _ in range(1000):
        Slow()
        await asyncio.sleep(0)
    return {"success": True, "detail": "outlived"}
