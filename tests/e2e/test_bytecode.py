"""A version is compiled once, in a jail of its own; its later instances load what came of it."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest

from gateway.config import Config
from tests.support.node import LiveNode, live_node

WORKER = """\
import inspect, json, sys
import part

def fail():
    raise RuntimeError("on line five")

async def on_fetch(request, env, ctx):
    if request.url.endswith("/fail"):
        fail()
    known = {name: type(module.__loader__).__name__ for name, module in sys.modules.items()
             if name in ("main", "part", "package.inner")}
    return json.dumps([known, inspect.getsource(part.there), part.there()])
"""
PART = "def there():\n    import package.inner\n    return package.inner.__cached__\n"
PADDING = "# so much that it is worth it\n" * 200
BUNDLE: dict[str, str | bytes] = {
    "main.py": WORKER,
    "part.py": PART,
    "package/__init__.py": "",
    "package/inner.py": PADDING,
}
SLOW = "x = [" + "(a + b) * c, " * 200_000 + "]\n"
"""Takes the compiler seconds, and memory."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """A node on which compiling a version may take little."""

    def change(config: Config) -> Config:
        return msgspec.structs.replace(
            config, runtime=msgspec.structs.replace(config.runtime, compile_cpu_ms=300)
        )

    with live_node(tmp_path_factory.mktemp("node"), change) as live:
        yield live


def compiled(node: LiveNode, name: str) -> dict[str, int]:
    """Bytes that the modules of a script's only version were compiled to, once they were."""
    with closing(sqlite3.connect(node.node.data_dir / "waypost.db")) as database:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            rows = database.execute(
                "SELECT sizes, document FROM bytecode JOIN versions ON id = version_id"
                " WHERE name = ?",
                (name,),
            ).fetchall()
            if rows:
                ((sizes, document),) = rows
                modules = [module["name"] for module in json.loads(document)["modules"]]
                return dict(zip(modules, json.loads(sizes) or [0] * len(modules), strict=True))
            time.sleep(0.05)
    raise AssertionError("nothing was compiled")


def restart(node: LiveNode, name: str) -> None:
    """Have the next request start an instance."""
    for plan in ("pro", "free"):
        node.api.put(f"/v1/tenants/{name}", json={"plan": plan}).raise_for_status()


def test_later_instances_load_what_was_compiled_of_the_first(node: LiveNode) -> None:
    assert node.upload("acme", BUNDLE).status_code == 200
    first, source, cached = node.request("acme").json()
    assert set(first.values()) == {"SourceFileLoader"}
    sizes = compiled(node, "acme")
    assert all(sizes.values()), sizes
    restart(node, "acme")
    later = node.request("acme").json()
    assert later == [dict.fromkeys(first, "BundleLoader"), source, cached]
    assert source == PART
    with node.tail("acme") as tail:
        assert node.request("acme", "/fail").status_code == 500
        (event,) = tail.wait()
    (exception,) = event["exceptions"]
    assert "main.py" in exception["stack"]
    assert ":5" in exception["stack"] or "line 5" in exception["stack"]
    assert 'raise RuntimeError("on line five")' in exception["stack"]


def test_what_the_compiler_cannot_bear_is_left_out_and_served_from_source(node: LiveNode) -> None:
    bundle = {**BUNDLE, "python_modules/slow/__init__.py": SLOW}
    assert node.upload("slow", bundle).status_code == 200
    sizes = compiled(node, "slow")
    assert sizes.pop("python_modules/slow/__init__.py") == 0
    assert all(sizes.values()), sizes
    restart(node, "slow")
    assert node.request("slow").status_code == 200


def test_bytecode_that_a_bundle_brings_is_its_own_affair(node: LiveNode) -> None:
    tag = sys.implementation.cache_tag
    bundle = {**BUNDLE, f"__pycache__/part.{tag}.pyc": b"\0" * 16}
    assert node.upload("brought", bundle).status_code == 200
    sizes = compiled(node, "brought")
    assert [name for name, size in sizes.items() if not size] == [
        "part.py",
        f"__pycache__/part.{tag}.pyc",
    ]
    restart(node, "brought")
    assert node.request("brought").json()[1] == PART
