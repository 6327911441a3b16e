"""What a client writes reaches a tenant as one field, or not at all: no control character does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.node import LiveNode, live_node
from tests.support.raw import wire

SOURCE = """
from workers import Response

async def on_fetch(request):
    return Response("reached")
"""
WHOLE = b"GET /a?x HTTP/1.1\r\nHost: ctl.localhost\r\nx-a: ab\r\n"
CONTROLS = [*range(32), 127]
PLACES = {
    "method": WHOLE.replace(b"GET", b"GE%sT"),
    "path": WHOLE.replace(b"/a", b"/a%sb"),
    "query": WHOLE.replace(b"?x", b"?x%sy"),
    "host": WHOLE.replace(b"ctl.", b"ctl%s."),
    "name": WHOLE.replace(b"x-a", b"x%sa"),
    "value": WHOLE.replace(b": ab", b": a%sb"),
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with live_node(tmp_path_factory.mktemp("controls")) as live:
        live.deploy("ctl", SOURCE)
        yield live


@pytest.mark.parametrize("place", PLACES)
def test_no_control_character_reaches_a_tenant(node: LiveNode, place: str) -> None:
    for code in CONTROLS:
        if (place, code) == ("value", 9):  # A tab is part of a value.
            continue
        with wire(node.started.tenant_port) as client:
            client.send(PLACES[place] % bytes([code]) + b"Connection: close\r\n\r\n")
            answer = client.answer()
            assert 400 <= answer.status < 500, (place, code)
