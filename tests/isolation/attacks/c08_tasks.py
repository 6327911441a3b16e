"""Ten thousand tasks that burn a little each."""

import asyncio


async def burn():
    for _ in range(1000):
        await asyncio.sleep(0)


async def attempt():
    await asyncio.gather(*[burn() for _ in range(10_000)])
    return {"success": True, "detail": "ten million turns"}
