"""Stop and close the runtime's event loop, and cancel all that runs on it."""

import asyncio


async def attempt():
    loop = asyncio.get_running_loop()
    for task in asyncio.all_tasks():
        task.cancel()
    loop.stop()
    loop.call_soon(loop.stop)
    loop.set_exception_handler(lambda *_: loop.close())
    loop.call_exception_handler({"message": "over"})
    try:
        loop.close()
    except RuntimeError:
        pass
    await asyncio.sleep(0)
    return {"success": False, "detail": ""}
