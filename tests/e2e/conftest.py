"""One node for the end-to-end tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.node import LiveNode, live_node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """A running node with three plans and nothing deployed."""
    with live_node(tmp_path_factory.mktemp("node")) as live:
        yield live
