"""Fields that would begin a second answer, or lie about the first."""


def attempt():
    heads = (
        {"x": "a\r\n\r\nHTTP/1.1 200 OK"},
        {"x\r\nset-cookie": "a=b"},
        {"x": "a\nset-cookie: a=b"},
        {"x": "a\x00b"},
        {"transfer-encoding": "chunked"},
        {"transfer-encoding": "chunked", "content-length": "1"},
        {"trailer": "x"},
        {"content-length": "0"},
        {"content-length": "-1"},
        {"connection": "x, close", "x": "1"},
    )
    return {
        "responses": [{"body": "answer", "status": 200, "headers": h} for h in heads],
        "success": False,
        "detail": "",
    }
