"""A header value of two megabytes."""


def attempt():
    return {
        "success": False,
        "detail": "",
        "response": {"status": 200, "headers": [("x-big", "v" * (2 << 20))], "body": "x"},
    }
