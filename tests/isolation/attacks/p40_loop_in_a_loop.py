"""Run another loop inside the runtime's, in its place, and one that never ends beside it."""

import asyncio
import asyncio.events
import threading


async def _for_ever():
    while True:
        await asyncio.sleep(0.001)


def attempt():
    threading.Thread(target=asyncio.run, args=(_for_ever(),), daemon=True).start()
    asyncio.events._set_running_loop(None)
    other = asyncio.new_event_loop()
    asyncio.set_event_loop(other)
    asyncio.events._set_running_loop(other)
    return {"success": False, "detail": ""}
