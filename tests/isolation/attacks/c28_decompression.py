"""A gigabyte out of a megabyte, at once and as a file."""

import zlib


def attempt():
    packed = zlib.compress(bytes(1 << 20), 9)
    out = [zlib.decompress(packed) for _ in range(1 << 20)]
    return {"success": True, "detail": len(out)}
