"""One node for the end-to-end tests of a file; Cloudflare's clients where they are installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clients import Wrangler
from tests.support.node import OPERATOR_TOKEN, LiveNode, live_node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """A running node with three plans and nothing deployed."""
    with live_node(tmp_path_factory.mktemp("node")) as live:
        yield live


@pytest.fixture(scope="session")
def clients() -> Path:
    """The directory with the clients."""
    where = os.environ.get("WAYPOST_TEST_CLIENTS")
    if not where:
        pytest.skip("no clients: run tests/e2e/clients/install.sh, set WAYPOST_TEST_CLIENTS")
    return Path(where).resolve()


@pytest.fixture
def environment(node: LiveNode, tmp_path: Path) -> dict[str, str]:
    """What a tenant exports, and nothing of this machine's."""
    home = tmp_path / "home"
    home.mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CI": "1",
        "NO_COLOR": "1",
        "WRANGLER_SEND_METRICS": "false",
        "WRANGLER_HIDE_BANNER": "true",
        "CLOUDFLARE_API_BASE_URL": f"{node.api.base_url}/client/v4".replace("//client", "/client"),
        "CLOUDFLARE_API_TOKEN": OPERATOR_TOKEN,
        "TENANTS": node.url,
    }


@pytest.fixture
def wrangler(clients: Path, environment: dict[str, str], tmp_path: Path) -> Wrangler:
    folder = tmp_path / "project"
    folder.mkdir()
    return Wrangler(folder, clients, environment)
