"""A page here and there in all the address space there is."""

import mmap


def attempt():
    kept = []
    try:
        while True:
            part = mmap.mmap(-1, 32 << 20)
            for offset in range(0, len(part), 2 << 20):
                part[offset] = 1
            kept.append(part)
    except (OSError, MemoryError):
        pass
    return {"success": len(kept) > 40, "detail": len(kept)}
