"""Burn at import."""

import time

_end = time.monotonic() + 20
while time.monotonic() < _end:
    pass


def attempt():
    return {"success": True, "detail": "loaded"}
