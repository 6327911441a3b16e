"""Recurse until the C stack is gone."""

import sys


def attempt():
    sys.setrecursionlimit(1 << 30)

    class Deep:
        def __getattr__(self, name):
            return getattr(self, name + "x"[:0])

    return Deep().more
