"""Colliding hashes of its own objects, in a dictionary and a set."""


class Same:
    def __hash__(self):
        return 1

    def __eq__(self, other):
        return False


def attempt():
    return {"success": True, "detail": len({Same(): n for n in range(100_000)})}
