"""Statuses that are no end of an answer, or switch protocols."""


def attempt():
    given = [
        {"body": "x", "status": status, "headers": {}}
        for status in (100, 101, 102, 103, 199, 600, 999, 0, -1, 2**40)
    ]
    return {"responses": given, "success": False, "detail": ""}
