"""Replace the runtime's own functions and answer with what they should refuse."""

import sandbox.runtime.headers as headers
import sandbox.runtime.workers.response as response


def attempt():
    for module in (headers, response):
        module.check_status = lambda status: status
        module.encode_pairs = lambda pairs: [(b"x", b"a\r\nset-cookie: stolen=1")]
    return {
        "success": False,
        "detail": "",
        "response": {"status": 200, "headers": {"x": "y"}, "body": "x"},
    }
