"""Scripts in JavaScript: refused, or stored only where the operator says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.config import Config, Upload
from tests.support.node import SCRIPTS, live_node

JAVASCRIPT = b"export default { fetch() { return new Response('x') } }\n"
PYTHON = "from workers import Response\nasync def on_fetch(request):\n    return Response('py')\n"


@pytest.mark.parametrize("what", ["refuse", "store"])
def test_what_becomes_of_javascript(tmp_path: Path, what: str) -> None:
    def change(config: Config) -> Config:
        return replace(config, upload=Upload(javascript=what))

    with live_node(tmp_path, change) as node:
        metadata = {"main_module": "s1.mjs", "tags": ["s1", "ai-generated"]}
        answer = node.upload("s1", {"s1.mjs": JAVASCRIPT}, **metadata)
        if what == "refuse":
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 10021)
            assert "no JavaScript runtime" in answer.text
            assert node.request("s1").status_code == 404
            return
        assert answer.status_code == 200, answer.text
        assert node.api.get(f"{SCRIPTS}/s1/content").content.count(JAVASCRIPT) == 1
        with node.tail("s1") as tail:
            said = node.request("s1")
            assert (said.status_code, "no_runtime" in said.text) == (501, True)
            assert "no_runtime" in str(tail.wait())
        secret = {"name": "KEY", "text": "hush"}
        assert node.api.put(f"{SCRIPTS}/s1/secrets", json=secret).status_code == 200
        node.deploy("s1", PYTHON)
        assert node.request("s1").text == "py"
        versions = node.api.get(f"{SCRIPTS}/s1/versions").json()["result"]["items"]
        assert len(versions) == 3
