"""Ten thousand header fields."""


def attempt():
    return {
        "success": False,
        "detail": "",
        "response": {
            "status": 200,
            "headers": [(f"x-{n}", "v") for n in range(10_000)],
            "body": "x",
        },
    }
