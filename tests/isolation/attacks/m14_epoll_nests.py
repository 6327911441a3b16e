"""Epoll in epoll, as deep and wide as descriptors go."""

import os
import select


def attempt():
    nests = []
    try:
        while True:
            nests.append(select.epoll())
    except OSError:
        pass
    os.close(nests.pop().fileno())
    added = 0
    for one in nests:
        for other in nests:
            try:
                one.register(other.fileno(), select.EPOLLIN)
                added += 1
            except OSError:
                pass
    return {"success": added > 10_000, "detail": added}
