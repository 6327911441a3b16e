"""Bodies, statuses and fields of classes that lie about themselves."""


class Text(str):
    def encode(self, *_):
        return b"x" * (1 << 26)

    def __len__(self):
        return 1


class Number(int):
    def __index__(self):
        raise SystemExit

    def __format__(self, _):
        return "200 OK\r\nset-cookie: a=b"


def attempt():
    return {
        "response": {"body": Text("a"), "status": Number(200), "headers": {Text("x"): Text("y")}},
        "success": False,
        "detail": "",
    }
