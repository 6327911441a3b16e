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

GATHERED = """
import sys, types
from sandbox.supervisor import packing

SOURCE = '''
def f(n, *, by=2.5):
    def inner():
        return n * by, (1000, "a b")
    return inner()
'''
littered, modules = [], []
for number in range(200):
    module = types.ModuleType(f"m{number}")
    exec(compile(SOURCE, f"/file{number}.py", "exec"), module.__dict__)
    littered.append([bytes(size) for size in range(0, 500, 20)])
    modules.append(module)
packing.fill()
before = [module.f.__code__ for module in modules]
used = modules[::10]
packing.gather(lambda: [module.f(n) for n in range(4) for module in used])
pages = {id(module.f.__code__) >> 12 for module in used}
assert len(pages) <= 5, len(pages)
for number, module in enumerate(modules):
    assert module.f(2) == (5.0, (1000, "a b"))
    assert module.f.__code__.co_filename == f"/file{number}.py"
    assert (module.f.__code__ is before[number]) is (module not in used)
assert sys.getprofile() is None
"""


def test_new_objects_do_not_go_into_holes() -> None:
    _run(SCRIPT)


def test_code_that_is_used_together_lies_together() -> None:
    _run(GATHERED)


def _run(script: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False
    )
    assert ran.returncode == 0, ran.stderr
