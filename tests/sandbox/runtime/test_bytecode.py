"""Modules that were compiled in one process and are loaded in another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.payloads import Failed, Ready
from tests.sandbox.runtime.peer import Instance

WORKER = """\
import inspect, os, traceback
import package.part, vendored

def fail():
    raise ValueError("on line five")

async def on_fetch(request):
    try:
        fail()
    except ValueError:
        trace = traceback.format_exc()
    return "|".join([
        package.part.NAME, vendored.NAME, trace, inspect.getsource(fail),
        inspect.getsource(package.part), package.part.__file__, ",".join(sorted(os.listdir("."))),
    ])
"""
BUNDLE = {
    "worker.py": WORKER,
    "package/__init__.py": "",
    "package/part.py": "NAME = 'source of the part'\n",
    "python_modules/vendored/__init__.py": "NAME = 'source of the package'",
    ".bytecode": "the tenant's own",
}


@pytest.fixture
def compiler(tmp_path: Path) -> Iterator[Instance]:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    started = Instance(folder)
    yield started
    started.kill()


def as_bytes(modules: dict[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in modules.items()}


def test_modules_are_loaded_from_bytecode_and_known_by_their_source(
    compiler: Instance, instance: Instance
) -> None:
    # What it was compiled from says otherwise than what lies there: so it can be told apart.
    changed = {
        name: text.replace("source", "bytecode").replace("inspect.getbytecode", "inspect.getsource")
        for name, text in BUNDLE.items()
        if name.endswith(".py")
    }
    compiled = compiler.compile(as_bytes(changed))
    assert compiler.wait() == 0
    assert all(compiled.values())
    assert isinstance(instance.load(BUNDLE, bytecode=compiled), Ready)
    part, package, trace, fail, module, file, files = instance.get().body.decode().split("|")
    assert (part, package) == ("bytecode of the part", "bytecode of the package")
    assert f'File "{instance.app_dir}/worker.py", line 5, in fail\n    raise ValueError(' in trace
    assert fail.startswith("def fail():\n    raise ValueError")
    assert module == BUNDLE["package/part.py"]
    assert file == f"{instance.app_dir}/package/part.py"
    assert files == ".bytecode,package,python_modules,worker.py"
    assert (instance.app_dir / ".bytecode").read_text() == "the tenant's own"


def test_a_module_without_bytecode_is_compiled_as_ever(
    compiler: Instance, instance: Instance
) -> None:
    compiled = compiler.compile({"package/part.py": b"NAME = 'compiled before'"})
    assert isinstance(instance.load(BUNDLE, bytecode=compiled), Ready)
    assert instance.get().body.startswith(b"compiled before|source of the package|")


def test_what_cannot_be_compiled_is_left_out(compiler: Instance) -> None:
    broken = {
        "syntax.py": b"def {{ name }}():",
        "nul.py": b"a = '\0'",
        "encoding.py": b"# coding: no-such-codec\n",
        "bytes.py": b"a = '\xff'",
        "nested.py": b"(" * 5000 + b")" * 5000,
        "deep.py": b"x = " + b"-" * 90_000 + b"1",
    }
    compiled = compiler.compile(
        {**broken, "latin.py": b"# coding: latin-1\na = '\xff'", "e.py": b""}
    )
    assert {name for name, code in compiled.items() if code} == {"latin.py", "e.py"}
    assert compiler.wait() == 0


def test_nothing_of_a_module_runs_where_it_is_compiled(compiler: Instance, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    compiled = compiler.compile({"worker.py": f"open({str(trace)!r}, 'w')\nimport os".encode()})
    assert compiled["worker.py"]
    assert compiler.wait() == 0
    assert not trace.exists()
    assert not list(compiler.app_dir.iterdir())


@pytest.mark.parametrize("junk", [b"junk", b"\0" * 16, b"\xff" * 100])
def test_bytecode_that_is_none_harms_nobody_but_its_own_instance(
    instance: Instance, junk: bytes
) -> None:
    loaded = instance.load(BUNDLE, bytecode={"package/part.py": junk})
    if isinstance(loaded, Failed):
        assert loaded.reason == "code"
    else:
        assert instance.get().body.startswith(b"source of the part|")
