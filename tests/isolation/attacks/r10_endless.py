"""A body that never ends, a byte at a time."""

import asyncio


async def body():
    while True:
        yield b"."
        await asyncio.sleep(0.001)


def attempt():
    return {
        "success": False,
        "detail": "",
        "response": {"status": 200, "headers": [], "body": body()},
    }
