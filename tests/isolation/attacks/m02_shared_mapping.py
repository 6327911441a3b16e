"""Touch a gigabyte of shared anonymous memory."""

import mmap


def attempt():
    room = mmap.mmap(-1, 1 << 30, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
    for offset in range(0, 1 << 30, 4096):
        room[offset] = 1
    return {"success": True, "detail": "1 GiB"}
