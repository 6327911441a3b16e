"""What is allocated after the zygote's memory was packed lies together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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

ONCE = """
import types
from sandbox.supervisor import packing

littered, modules = [], []
for number in range(200):
    module = types.ModuleType(f"m{number}")
    exec(compile("def f(n): return n + 1", f"/file{number}.py", "exec"), module.__dict__)
    littered.append([bytes(size) for size in range(0, 500, 20)])
    modules.append(module)
packing.fill()
once = modules[::10]
packing.gather(lambda: None, [id(module.f.__code__) for module in once] + [id(modules)])
pages = {id(module.f.__code__) >> 12 for module in once}
assert len(pages) <= 5, len(pages)
assert [module.f(number) for number, module in enumerate(modules)] == list(range(1, 201))
packing.look_up()
"""

SCOUT = """
import os, sys
from sandbox.supervisor import scout, spawn

def entry(*_arguments, **_named):
    raise AssertionError("there is no such directory to start in")

null = os.open(os.devnull, os.O_RDWR)
open_before = os.listdir("/proc/self/fd")
recipe = spawn.Recipe(entry=entry, null=null, address_space_bytes=1 << 40, insecure=True)
spawn.Birth.__init__.__defaults__ = (sys.argv[1],)
assert scout.ids(recipe, os.fork) == ()
os.mkdir(sys.argv[1])
ids = scout.ids(recipe, os.fork)
assert id(spawn.become_instance.__code__) in ids
assert id(spawn._settle.__code__) in ids
assert id(spawn.supervisor_modules.__code__) not in ids
assert os.listdir("/proc/self/fd") == open_before
assert sys.getprofile() is None
"""


def test_new_objects_do_not_go_into_holes() -> None:
    _run(SCRIPT)


def test_code_that_is_used_together_lies_together() -> None:
    _run(GATHERED)


def test_code_that_children_run_lies_together() -> None:
    _run(ONCE)


def test_a_scout_tells_what_code_a_child_runs_and_one_that_fails_tells_nothing(
    tmp_path: Path,
) -> None:
    _run(SCOUT, str(tmp_path / "app"))


def _run(script: str, *arguments: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
