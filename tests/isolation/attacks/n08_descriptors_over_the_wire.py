"""Pass descriptors to the gateway over the wire, and ask for some."""

import array
import os
import socket


def attempt():
    wire = socket.socket(fileno=os.dup(3))
    done = []
    for name, act in (
        (
            "sent",
            lambda: wire.sendmsg(
                [b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [3] * 200))]
            ),
        ),
        ("timestamps", lambda: wire.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)),
        ("buffer", lambda: wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 30)),
    ):
        try:
            act()
            done.append(name)
        except OSError:
            pass
    try:
        peer = wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    except OSError:
        peer = bytes(12)
    pid, uid, _ = array.array("i", peer)
    # The gateway's own process id, seen from in here, must be no number at all.
    return {"success": bool(done) or pid > 1, "detail": [done, pid, uid]}
