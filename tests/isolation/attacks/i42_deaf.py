"""Answer, and hear nothing from then on."""

import asyncio


async def attempt():
    asyncio.get_running_loop().remove_reader(3)
    return {"success": False, "detail": ""}
