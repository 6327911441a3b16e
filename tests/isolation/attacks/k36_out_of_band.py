"""Bytes out of band, from error queues and without copying, on the wire and a pair of its own."""

import socket

SEND = [socket.MSG_OOB, 0x4000000, 0x20000000]
RECEIVE = [socket.MSG_OOB, socket.MSG_ERRQUEUE]


def attempt():
    done = []
    one, other = socket.socketpair()
    wire = socket.socket(fileno=3)
    for end in (one, wire):
        for flags in SEND:
            try:
                done.append((flags, end.send(b"x", flags)))
            except PermissionError:
                pass
        for flags in RECEIVE:
            for call in (end.recv, lambda size, how: end.recvmsg(size, 64, how)):
                try:
                    done.append((flags, call(1, flags | socket.MSG_DONTWAIT)))
                except PermissionError:
                    pass
    wire.detach()
    return {"success": bool(done), "detail": repr(done)}
