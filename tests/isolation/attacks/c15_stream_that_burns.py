"""Yield for ever, as fast as it goes."""


async def body():
    while True:
        yield b"x" * 60_000


def attempt():
    return {
        "success": False,
        "detail": "",
        "response": {"status": 200, "headers": [], "body": body()},
    }
