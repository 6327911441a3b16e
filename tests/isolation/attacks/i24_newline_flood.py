"""Newlines into the log pipe, a line each."""

import os


def attempt():
    data = b"\n" * (1 << 20)
    for _ in range(400):
        os.write(1, data)
    return {"success": False, "detail": ""}
