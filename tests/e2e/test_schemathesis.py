"""Schemathesis reads the description of the API and asks a real node everything it can think of.

It comes with the development extras; it runs as a program, so that its plugins stay out of ours.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.config import Config, Control
from tests.support.node import OPERATOR_TOKEN, live_node

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(find_spec("schemathesis") is None, reason="schemathesis is not installed"),
]
SOURCE = "async def on_fetch(request, env, ctx):\n    ...\n"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
KNOWN = {"account": "platform", "namespace": "production", "name": "acme", "slug": "acme"}
"""Names of what there is, so that requests get past the first 404."""


def without_limits(config: Config) -> Config:
    return replace(config, control=Control(requests=0, operator_requests=0, failures=0))


@pytest.mark.parametrize("known", [{}, KNOWN], ids=["anything", "what there is"])
def test_no_request_makes_it_fail_or_leave_its_schema(
    tmp_path: Path, known: dict[str, str]
) -> None:
    settings = tmp_path / "schemathesis.toml"
    lines = [f'"path.{name}" = "{value}"\n' for name, value in known.items()]
    settings.write_text("".join(["[parameters]\n", *lines]))
    with live_node(tmp_path / "data", without_limits) as node:
        node.deploy("acme", SOURCE)
        base = str(node.api.base_url).rstrip("/")
        command = [
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            *("--config-file", str(settings), "run", f"{base}/openapi.json"),
            *("-H", f"Authorization: Bearer {OPERATOR_TOKEN}", "--checks", ",".join(CHECKS)),
            # Tails never end.
            *("--exclude-path-regex", "/tail$", "--phases", "coverage,fuzzing"),
            *("--max-examples", "3", "--max-time", "20", "--seed", "1", "--continue-on-failure"),
            *("--suppress-health-check", "all", "--request-timeout", "20"),
        ]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False
        )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "generated" in done.stdout
