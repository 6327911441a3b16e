"""What is allocated after the zygote's memory was packed lies together."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc, sys
from sandbox.supervisor import packing

# Every third one is freed again: holes all over.
littered = [bytes(n * 7 % 480) for n in range(60_000)]
del littered[::3]
gc.collect()
packing.fill()
empty = b"".__sizeof__()
for size in range(48, 513, 16):
    blocks = [bytes(size - empty) for _ in range(64)]
    pages = {id(block) >> 12 for block in blocks}
    assert len(pages) <= 64 * size // 4096 + 8, (size, len(pages))
"""


def test_new_objects_do_not_go_into_holes() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=50, check=False
    )
    assert ran.returncode == 0, ran.stderr
