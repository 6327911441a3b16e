"""What a waiting instance does to be ready leaves nothing that tenant code could meet."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

SCRIPT = """
import asyncio, json, logging, os, signal, sys, threading, warnings
from sandbox.runtime import aliases, rehearsal, warmup
from sandbox.runtime.context import current
from sandbox.runtime.console import console
from sandbox.runtime.env import env
aliases.register()
warmup.preload([])
ran = []
exercise = warmup.exercise
def exercise_and_note(*arguments):
    ran.append(arguments[0])
    exercise(*arguments)
warmup.exercise = exercise_and_note
def state():
    root = logging.getLogger()
    return {
        "modules": sorted(sys.modules),
        "path": sys.path[:],
        "streams": [id(sys.stdout), id(sys.stderr)],
        "logging": [id(handler) for handler in root.handlers] + [root.level],
        "console": id(console._recorder),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "signals": [str(signal.getsignal(number)) for number in (signal.SIGXCPU, signal.SIGINT)],
        "env": [str(env.__dict__), dict(os.environ), sys.argv[:]],
        "invocation": repr(current.get(None)),
        "hooks": [len(sys.meta_path), len(sys.path_hooks), repr(sys.excepthook)],
    }
before = state()
for _ in range(3):
    rehearsal.rehearse()
after = state()
print(json.dumps({
    "ran": ran, "changed": [name for name in before if before[name] != after[name]],
}))
"""


def test_it_leaves_nothing() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    assert ran.stderr == ""
    assert json.loads(ran.stdout) == {"ran": ["the runtime"] * 3, "changed": []}


WAIT = """
import sys
from sandbox.runtime import rehearsal
rehearsal.rehearse = lambda: print("rehearsed", end="")
rehearsal.while_waiting(int(sys.argv[1]))
"""


def rehearsed(*, somebody_waits: bool) -> bool:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if somebody_waits:
            ours.sendall(b"\0")
        ran = subprocess.run(
            [sys.executable, "-c", WAIT, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
            check=True,
            timeout=50,
        )
    assert ran.stdout in ("", "rehearsed")
    return bool(ran.stdout)


def test_it_is_not_done_while_somebody_waits() -> None:
    assert rehearsed(somebody_waits=False)
    assert not rehearsed(somebody_waits=True)
