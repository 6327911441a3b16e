"""Change priority, policy or group, on which the exact CPU clock relies."""

import ctypes
import errno

_libc = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    """A raw system call: its result and the name of its error."""
    ctypes.set_errno(0)
    longs = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = _libc.syscall(ctypes.c_long(number), *longs)
    return result, errno.errorcode.get(ctypes.get_errno(), "")


import os


def attempt():
    done = []
    tries = {
        "setpriority": lambda: os.setpriority(os.PRIO_PGRP, 0, -20),
        "lower": lambda: os.setpriority(os.PRIO_PROCESS, 0, 19),
        "batch": lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)),
        "idle": lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)),
        "setsid": os.setsid,
        "setpgid": lambda: os.setpgid(0, 0),
        "affinity": lambda: os.sched_setaffinity(0, {0}),
    }
    for name, act in tries.items():
        try:
            act()
            done.append(name)
        except OSError:
            pass
    for number in (314, 251, 142, 144):  # sched_setattr, ioprio_set, sched_setparam, setscheduler
        if call(number, 0, 0, 0)[0] == 0:
            done.append(number)
    return {"success": bool(done), "detail": done}
