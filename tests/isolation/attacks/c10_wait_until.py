"""Burn in waitUntil, after the response."""

from workers import wait_until


async def burn():
    while True:
        pass


def attempt():
    wait_until(burn())
    return {"success": False, "detail": "answered"}
