"""What the zygote does before it is jailed leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import asyncio, json, logging, os, sys, threading
records = []
handler = logging.Handler()
handler.emit = lambda record: records.append(record.getMessage())
logging.getLogger().addHandler(handler)
from sandbox.runtime import warmup
before = len(os.listdir("/proc/self/fd"))
packages = ["fastapi", "Flask", "starlette", "typing_extensions", "not-installed-anywhere"]
warmup.preload(packages)
print(json.dumps({
    "records": records,
    "threads": threading.active_count(),
    "tasks": len(os.listdir("/proc/self/task")),
    "descriptors": len(os.listdir("/proc/self/fd")) - before,
    "modules": [name in sys.modules for name in (
        "workers", "workers.asgi", "workers.wsgi", "workers.workflows", "asgi", "js", "fastapi",
        "flask", "sqlite3", "zoneinfo", "anyio._backends._asyncio", "typing_extensions")],
}))
"""


def test_preload_leaves_one_thread_and_no_descriptor() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    assert ran.stderr == ""
    seen = json.loads(ran.stdout)
    assert seen["records"] == ["package is not installed, skipped"]
    assert (seen["threads"], seen["tasks"], seen["descriptors"]) == (1, 1, 0)
    assert all(seen["modules"])


THREADED = """
import threading
import sandbox.runtime.warmup as warmup
stop = threading.Event()
warmup._JOIN_SECONDS = 0.05
warmup._import_distribution = lambda package, installed: threading.Thread(
    target=stop.wait, name="left behind").start()
try:
    warmup.preload(["guilty"])
finally:
    stop.set()
"""


def test_a_package_that_leaves_a_thread_is_named() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", THREADED], capture_output=True, text=True, check=False, timeout=50
    )
    assert ran.returncode == 1
    assert "RuntimeError: guilty left threads behind" in ran.stderr
    assert "left behind'" in ran.stderr
