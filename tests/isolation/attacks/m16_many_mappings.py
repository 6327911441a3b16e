"""As many mappings as a process may have, until the runtime gets none."""

import mmap


def attempt():
    kept = []
    try:
        while True:
            # Every other page of another kind, so that they do not grow together.
            kept.append(mmap.mmap(-1, 4096, prot=mmap.PROT_READ << (len(kept) % 2)))
    except (OSError, MemoryError):
        pass
    del kept[:8]
    return {"success": False, "detail": len(kept)}
