"""Compiled code that a bundle brings along: it runs, and the barriers hold for it as for Python."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import platform
import signal
from collections.abc import Iterator
from functools import partial

import msgspec
import pytest

from gateway.config import Config
from sandbox import Supervisor
from sandbox.ladder import LANDLOCK
from tests.support.bundles import vendored
from tests.support.node import LiveNode, live_node

from .hostile import Died, run

pytestmark = [pytest.mark.isolation]

WHEELS = {
    ("numpy",): """
import numpy
def work(): return numpy.linalg.det(numpy.eye(8) @ numpy.ones((8, 8)) + numpy.eye(8)).round()
""",
    ("pydantic-core", "typing-extensions"): """
from pydantic_core import SchemaValidator, core_schema
def work(): return SchemaValidator(core_schema.int_schema()).validate_python("9")
""",
    ("cryptography", "cffi", "pycparser"): """
from cryptography.hazmat.primitives.asymmetric import ed25519
def work(): return ed25519.Ed25519PrivateKey.generate().sign(b"me")[:0] or 9
""",
    ("lxml",): """
from lxml import etree
def work(): return etree.fromstring("<a><b>9</b></a>").xpath("//b/text()")[0]
""",
    ("pillow",): """
import io
from PIL import Image
Image.init()
def work():
    file = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(file, "PNG")
    return Image.open(file).size[0]
""",
}
SERVE = """
from workers import Response
async def on_fetch(request, env, ctx):
    return Response(str(int(work())))
"""


def roomy(config: Config, level: str) -> Config:
    """Wheels are larger than what bundles may be by default, and take longer to load."""
    return msgspec.structs.replace(
        config,
        sandbox=msgspec.structs.replace(config.sandbox, minimum_level=level),
        upload=msgspec.structs.replace(config.upload, max_mb=100),
        runtime=msgspec.structs.replace(config.runtime, startup_cpu_ms=5000),
    )


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, jail_level: str) -> Iterator[LiveNode]:
    with live_node(
        tmp_path_factory.mktemp("native") / "state", partial(roomy, level=jail_level)
    ) as node:
        yield node


@pytest.mark.parametrize("wheels", WHEELS, ids=lambda wheels: wheels[0])
def test_a_wheel_of_the_bundle_works(node: LiveNode, wheels: tuple[str, ...]) -> None:
    try:
        importlib.metadata.distribution(wheels[0])
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{wheels[0]} is not installed")
    name = f"native-{wheels[0].replace('_', '-')}"
    node.api.put("/v1/tenants/native", json={"plan": "enterprise"}).raise_for_status()
    source = WHEELS[wheels] + SERVE
    answer = node.upload(name, {"main.py": source, **vendored(*wheels, compiled=True)})
    assert answer.status_code == 200, answer.text
    assert [node.request(name).text for _ in range(2)] == ["9", "9"]


# Machine code, as a file of the bundle and run from there. Pages are 4 KiB on this machine.

MACHINE = pytest.mark.skipif(platform.machine() != "x86_64", reason="x86-64 machine code")
CALL = """
import ctypes, mmap, os
CODE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "code")
PAGE = mmap.PAGESIZE
def call(path, protection=mmap.PROT_READ | mmap.PROT_EXEC):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    address = libc.mmap(None, PAGE, protection, mmap.MAP_PRIVATE, os.open(path, os.O_RDONLY), 0)
    if address == ctypes.c_void_p(-1).value:
        return os.strerror(ctypes.get_errno())
    return ctypes.CFUNCTYPE(ctypes.c_long)(address)()
"""
NOT_THERE = os.strerror(errno.ENOENT)
NINE = bytes.fromhex("b8 09 00 00 00 c3")
GETPID_INT80 = bytes.fromhex("6a 14 58 cd 80 c3")
GETPID_X32 = bytes.fromhex("b8 27 00 00 40 0f 05 c3")
PTRACE = bytes.fromhex("b8 65 00 00 00 0f 05 c3")


@MACHINE
@pytest.mark.anyio
async def test_machine_code_of_the_bundle_runs(supervisor: Supervisor) -> None:
    code = CALL + "def attempt(): return call(CODE)"
    assert await run(supervisor, code, beside={"code": NINE}) == 9


@MACHINE
@pytest.mark.anyio
@pytest.mark.parametrize("machine_code", [GETPID_INT80, GETPID_X32, PTRACE])
async def test_its_system_calls_are_filtered_in_every_abi(
    supervisor: Supervisor, machine_code: bytes
) -> None:
    code = CALL + "def attempt(): return call(CODE)"
    with pytest.raises(Died) as died:
        await run(supervisor, code, beside={"code": machine_code})
    assert died.value.status.signal == signal.SIGSYS


@pytest.mark.anyio
@pytest.mark.parametrize(
    "attempt",
    [
        "call('/tmp/code')",
        "call(CODE, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)",
        "call('/dev/zero')",
    ],
    ids=["written to scratch", "writable", "device"],
)
async def test_nothing_that_was_written_at_run_time_is_executed(
    supervisor: Supervisor, attempt: str
) -> None:
    code = f"""{CALL}
def attempt():
    try:
        open("/tmp/code", "wb").write(open(CODE, "rb").read())
    except PermissionError:
        pass  # There is no scratch.
    try:
        return {attempt}
    except OSError as error:
        return os.strerror(error.errno)
"""
    if supervisor.level == LANDLOCK and "zero" in attempt:
        # Without mounts /dev is not `noexec`: zeros are executed, which nobody wrote.
        with pytest.raises(Died, match="SIGSEGV"):
            await run(supervisor, code, beside={"code": NINE})
        return
    answer = await run(supervisor, code, beside={"code": NINE})
    assert answer in ("Operation not permitted", "Permission denied", "No such device", NOT_THERE)


@MACHINE
@pytest.mark.anyio
async def test_mapped_code_stays_as_it_was_uploaded(supervisor: Supervisor) -> None:
    code = f"""{CALL}
def attempt():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    try:
        fd = os.open(CODE, os.O_RDWR)
        os.pwrite(fd, b"x", 0)
        return "written"
    except OSError:
        fd = os.open(CODE, os.O_RDONLY)
    shared = libc.mmap(None, PAGE, 3, mmap.MAP_SHARED, fd, 0)
    mapped = libc.mmap(None, PAGE, 5, mmap.MAP_PRIVATE, fd, 0)
    written = libc.mmap(None, PAGE, 3, mmap.MAP_PRIVATE, fd, 0)
    return [
        shared == ctypes.c_void_p(-1).value,
        libc.mprotect(mapped, PAGE, 7) != 0,
        libc.mprotect(written, PAGE, 5) != 0,
    ]
"""
    assert await run(supervisor, code, beside={"code": NINE}) == [True, True, True]
