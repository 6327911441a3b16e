"""A loop that only yields to the event loop, with a thousand futures."""

import asyncio


async def attempt():
    async def spin():
        while True:
            try:
                await asyncio.sleep(0)
            except BaseException:
                pass

    await asyncio.gather(*(spin() for _ in range(1000)))
