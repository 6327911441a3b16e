"""What a client is told when the tenant's code does not answer, in the form it prefers."""

from __future__ import annotations

import pytest

from tests.support.node import LiveNode
from tests.support.raw import wire

FAILS = """
from workers import Response
async def on_fetch(request):
    raise RuntimeError("<script>secret detail</script>")
"""


@pytest.mark.parametrize(
    ("accept", "kind", "start"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8", "<!"),
        ("application/json", "application/json", "{"),
        ("*/*", "text/plain; charset=utf-8", "500"),
    ],
)
def test_pages_come_as_html_json_or_text(
    node: LiveNode, accept: str, kind: str, start: str
) -> None:
    node.deploy("fails", FAILS)
    answer = node.request("fails", headers={"Accept": accept})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == kind
    assert answer.text.startswith(start)
    assert answer.headers["waypost-ray"] in answer.text
    assert "secret detail" not in answer.text
    assert answer.headers["cache-control"] == "no-store"


def test_a_json_page_has_the_whole_story(node: LiveNode) -> None:
    node.deploy("fails", FAILS)
    error = node.request("fails", headers={"Accept": "application/json"}).json()["error"]
    assert (error["code"], error["outcome"], error["fault"]) == ("1101", "exception", "tenant")


BAD = """
from workers import Response

class Raw(Response):
    pass

async def on_fetch(request):
    what = request.url.rsplit("/", 1)[1]
    if what == "none":
        return None
    if what == "int":
        return 7
    if what == "status":
        return Response("x", status=99)
    if what == "crlf":
        return Response("x", headers={"x-a": "b\\r\\nset-cookie: sid=stolen"})
"""


@pytest.mark.parametrize("what", ["none", "int", "status", "crlf"])
def test_nonsense_answers_are_the_tenants_fault_and_never_reach_the_client(
    node: LiveNode, what: str
) -> None:
    node.deploy("bad", BAD)
    answer = node.request("bad", f"/{what}")
    assert answer.status_code in (500, 502)
    assert answer.headers["waypost-outcome"] == "exception"
    assert "set-cookie" not in answer.headers


def test_platform_headers_of_a_client_are_not_believed_nor_passed_on(node: LiveNode) -> None:
    source = """
from workers import Response
async def on_fetch(request):
    return Response.json(dict(request.headers.items()))
"""
    node.deploy("headers", source)
    sent = {
        "Waypost-Ray": "forged",
        "X-Forwarded-For": "6.6.6.6",
        "Connection": "x-drop",
        "X-Drop": "1",
    }
    seen = {k.lower(): v for k, v in node.request("headers", headers=sent).json().items()}
    assert "waypost-ray" not in seen
    assert "x-drop" not in seen
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-forwarded-host"] == "headers.localhost"


def test_the_page_of_a_head_request_has_no_body(node: LiveNode) -> None:
    node.deploy("fails", FAILS)
    port = node.started.tenant_port
    with wire(port) as connection:
        head = b" / HTTP/1.1\r\nHost: fails.localhost\r\nAccept: application/json\r\n"
        connection.send(b"HEAD" + head + b"\r\n" + b"GET" + head + b"Accept: text/html\r\n\r\n")
        first, second = connection.answer("HEAD"), connection.answer()
    assert [(answer.status, answer.get("vary")) for answer in (first, second)] == [
        (500, "accept")
    ] * 2
    assert int(first.get("content-length")) > 0
    assert second.get("content-type") == "application/json"
    assert len(second.body) == int(second.get("content-length"))


def test_head_requests_get_no_body(node: LiveNode) -> None:
    node.deploy(
        "headed",
        "from workers import Response\nasync def on_fetch(r):\n    return Response('body')\n",
    )
    answer = node.request("headed", "/", "HEAD")
    assert answer.status_code == 200
    assert answer.content == b""
