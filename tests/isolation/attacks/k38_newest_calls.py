"""Every system call that is newer than 2018, with nothing and with nonsense."""

import ctypes

_libc = ctypes.CDLL(None, use_errno=True)
ALLOWED = {436, 439, 441, 452}
DEADLY = {425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 440, 442, 443, 457, 458}


def attempt():
    done = []
    for number in range(424, 480):
        if number in ALLOWED | DEADLY:
            continue
        for arguments in ([0] * 6, [1] * 6, [-1] * 6):
            result = _libc.syscall(number, *map(ctypes.c_long, arguments))
            if result >= 0 or ctypes.get_errno() not in (1, 38):
                done.append((number, result, ctypes.get_errno()))
    return {"success": bool(done), "detail": done}
