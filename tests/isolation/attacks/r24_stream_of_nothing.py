"""A body that never ends and has nothing in it."""


async def _nothing():
    while True:
        yield b""


def attempt():
    return {"success": False, "detail": "", "response_object": _nothing()}
