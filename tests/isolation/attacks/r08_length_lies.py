"""A Content-Length that is not the body's."""


def attempt():
    return {
        "success": False,
        "detail": "",
        "responses": [
            {"status": 200, "headers": [("content-length", length)], "body": "12345"}
            for length in ("4", "6", "99999999999", "1" * 18)
        ],
    }
