"""A body that raises, returns what is no bytes, and never ends closing."""


async def _body():
    try:
        yield b"begun"
        yield 7
    finally:
        while True:
            pass


def attempt():
    return {"response_object": _body(), "success": False, "detail": ""}
