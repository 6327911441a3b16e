"""Callbacks that put themselves back, outside of any task."""

import asyncio


async def attempt():
    loop = asyncio.get_running_loop()

    def again():
        loop.call_soon(again)

    again()
    await asyncio.sleep(30)
