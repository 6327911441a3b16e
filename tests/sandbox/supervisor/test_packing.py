"""What is allocated after the zygote's memory was packed lies together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import HostUnfit, Supervisor, SupervisorSettings

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
ids = [id(module.f.__code__) for module in once]
packing.gather(lambda: None, ids[::2] + [id(modules)], iter(ids[1::2]))
pages = {id(module.f.__code__) >> 12 for module in once}
assert len(pages) <= 5, len(pages)
assert [module.f(number) for number, module in enumerate(modules)] == list(range(1, 201))
packing.look_up()
"""

MOVED = """
import functools, sys, types, weakref
from sandbox.supervisor import packing

SOURCE = '''
class C:
    limit = 3
    def __init__(self, n: int = 1, *, by: int = 2) -> None:
        "Words."
        super().__init__()
        self.n = n * by
    @property
    def held(self):
        return helper(self.n)
    @classmethod
    def made(cls):
        return cls(5).held
    def __len__(self):
        return self.n
def helper(n):
    return n + 1
def marked(n):
    return n
def registered(n):
    return n
def watched(n):
    return n
marked.mark = "here"
'''
littered, modules, registry, watch = [], [], [], []
for number in range(200):
    module = types.ModuleType(f"m{number}")
    exec(compile(SOURCE, f"/file{number}.py", "exec"), module.__dict__)
    littered.append([bytes(size) for size in range(0, 500, 20)])
    registry.append(module.registered)
    watch.append(weakref.ref(module.watched))
    modules.append(module)
    other = types.ModuleType(f"other{number}")
    other.imported = module.helper
    littered.append(other)
packing.fill()

def use(module):
    made = module.C(2, by=4)
    assert (made.n, made.held, len(made), module.C.made()) == (8, 9, 8, 11)
    assert module.marked(module.registered(module.watched(7))) == 7

used = modules[::10]
before = {id(module): module.C.__init__ for module in modules}
before = {key: id(function) for key, function in before.items()}
packing.gather(lambda: [use(module) for module in used])
inits = {id(module.C.__init__) >> 12 for module in used}
helpers = {id(module.helper) >> 12 for module in used}
assert len(inits) <= 4 and len(helpers) <= 4, (len(inits), len(helpers))
for number, module in enumerate(modules):
    use(module)
    init = module.C.__init__
    assert (id(init) == before[id(module)]) is (module not in used)
    assert init.__qualname__ == "C.__init__" and init.__doc__ == "Words."
    assert init.__defaults__ == (1,) and init.__kwdefaults__ == {"by": 2}
    assert init.__annotations__ == {"n": int, "by": int, "return": None}
    assert module.marked.mark == "here"
    assert littered[2 * number + 1].imported is module.helper
    # Whoever else knows a function by what it is keeps knowing it.
    assert module.registered is registry[number] and module.watched is watch[number]()
"""

SCOUT = """
import dataclasses, importlib, os, socket, sys
from sandbox.supervisor import forkserver, scout, spawn

null = os.open(os.devnull, os.O_RDWR)
recipe = spawn.Recipe(entry=None, null=null, address_space_bytes=1 << 40, insecure=True)

def serve(control, entry):
    known = dataclasses.replace(recipe, entry=entry)
    forkserver.ForkServer(control, known, os.fork, sys.argv[1]).run_once()

def live(wire_fd, *, said=b"", **_arguments):
    while len(said) < 5:
        said += os.read(wire_fd, 5)
    assert said == b"hello"
    socket.has_dualstack_ipv6()
    return True

open_before = os.listdir("/proc/self/fd")
assert scout.ids(serve, live, b"wrong") == ()
assert scout.ids(serve, lambda *_, **__: False, b"") == ()
ids = scout.ids(serve, live, b"hello")
for function in (spawn.become_instance, spawn._settle, socket.has_dualstack_ipv6):
    assert id(function.__code__) in ids, function  # in the child
assert id(forkserver.ForkServer._birth.__code__) in ids
assert id(forkserver.ForkServer._reap.__code__) in ids
assert id(spawn.forget_supervisor.__code__) not in ids
assert os.listdir("/proc/self/fd") == open_before
assert os.listdir(sys.argv[1]) == []
assert sys.getprofile() is None
os.rmdir(sys.argv[1])
assert scout.ids(serve, live, b"hello") == ()
"""

LIFE = """
import os, socket, sys
from sandbox.runtime import bootstrap, rehearsal, warmup
from sandbox.protocol import FROM_INSTANCE, Decoder, FrameType

warmup.preload([])
os.makedirs(sys.argv[1])
os.chdir(sys.argv[1])
lives = rehearsal.whole_lives(sys.argv[1], ["FastAPI", "flask", "another"])
assert list(lives) == ["rehearsal", "fastapi", "flask"]
lives = list(lives.values())
lives.append(lives[0].replace(b"fetch", b"fitch"))
for number, life in enumerate(lives):
    ours, theirs = socket.socketpair()
    ours.sendall(life)
    if (pid := os.fork()) == 0:
        os._exit(17 if bootstrap.live(theirs.detach(), sys.argv[1], ".", None) else 18)
    theirs.close()
    said = b"".join(iter(lambda: ours.recv(1 << 16), b""))
    ours.close()
    frames = Decoder(FROM_INSTANCE).feed(said)
    kinds = [frame.type for frame in frames]
    served = kinds[:2] == [FrameType.HELLO, FrameType.READY] and len(kinds) > 2
    assert served == (number < 3) and FrameType.EXCEPTION not in kinds, frames
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == (17 if served else 18)
    os.remove(f"{sys.argv[1]}/main.py")
"""


def test_new_objects_do_not_go_into_holes() -> None:
    _run(SCRIPT)


def test_code_that_is_used_together_lies_together() -> None:
    _run(GATHERED)


def test_code_that_children_run_lies_together() -> None:
    _run(ONCE)


def test_functions_that_only_modules_and_classes_refer_to_lie_together() -> None:
    _run(MOVED)


def test_a_scout_tells_what_code_an_order_takes_and_one_that_fails_tells_nothing(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "instances"
    directory.mkdir()
    _run(SCOUT, str(directory))


def test_what_scouts_are_told_is_a_whole_life(tmp_path: Path) -> None:
    _run(LIFE, str(tmp_path / "app"))


@pytest.mark.anyio
@pytest.mark.isolation
async def test_scouts_of_a_zygote_come_back(capfd: pytest.CaptureFixture[str]) -> None:
    supervisor = Supervisor(SupervisorSettings(packages=("flask",)))
    try:
        await supervisor.start()
    except HostUnfit as error:
        pytest.skip(str(error))
    finally:
        await supervisor.close()
    assert "tried out" not in capfd.readouterr().err


def _run(script: str, *arguments: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
