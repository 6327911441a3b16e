"""Hold memory in pipes and socket pairs."""

import socket


def attempt():
    held = 0
    kept = []
    try:
        while len(kept) < 256:
            one, two = socket.socketpair()
            kept += [one, two]
            for end in (one, two):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
                end.setblocking(False)
                try:
                    while True:
                        held += end.send(bytes(65536))
                except BlockingIOError:
                    pass
    except OSError:
        pass
    return {"success": held > 64 << 20, "detail": held}
