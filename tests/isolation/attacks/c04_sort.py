"""A sort whose comparison swallows everything that is raised in it."""


class Sticky(int):
    def __lt__(self, other):
        while True:
            try:
                sum(range(1000))
            except BaseException:
                pass


def attempt():
    sorted([Sticky(1), Sticky(0)])
    return {"success": True, "detail": "sorted"}
