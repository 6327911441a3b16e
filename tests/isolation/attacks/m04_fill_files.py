"""Fill every place that takes files."""


def fill(path):
    taken = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while taken < 1 << 30:
                taken += file.write(bytes(1 << 20))
    except OSError:
        pass
    return taken


def attempt():
    taken = sum(fill(f"{folder}/f{n}") for folder in ("/tmp", "/app", "/dev") for n in range(4))
    return {"success": taken > 20 << 20, "detail": taken}
