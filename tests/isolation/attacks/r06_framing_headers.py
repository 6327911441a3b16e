"""Header fields that frame messages, and the platform's own."""

NAMES = ("connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade")


def attempt():
    headers = [(name, "close, x-gone") for name in NAMES]
    headers += [("waypost-outcome", "ok"), ("proxy-authenticate", "x")]
    return {
        "success": False,
        "detail": "",
        "response": {"status": 200, "headers": headers, "body": "x"},
    }
