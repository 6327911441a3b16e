"""Give a socket pair an address, and pass descriptors through it."""

import array
import socket


def attempt():
    done = []
    one, two = socket.socketpair()
    for name, act in {
        "bind": lambda: one.bind("\0abstract"),
        "connect": lambda: one.connect("\0abstract"),
        "listen": lambda: one.listen(1),
        "sendto": lambda: one.sendto(b"x", "\0abstract"),
        "accept": lambda: one.accept(),
        "rights": lambda: one.sendmsg(
            [b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [3]))]
        ),
        "datagram pair": lambda: socket.socketpair(socket.AF_INET),
    }.items():
        try:
            act()
            done.append(name)
        except OSError:
            pass
    return {"success": bool(done), "detail": done}
