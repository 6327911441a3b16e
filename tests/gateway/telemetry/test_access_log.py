"""The access log and the writer below it: real files, and disks that fail."""

from __future__ import annotations

import json
import logging
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.model.invocation import Invocation
from gateway.telemetry import lines
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.lines import FileSink, LineWriter
from sandbox import Outcome

Build = Callable[..., Invocation]


class ScriptedDisk:
    """A sink that fails while told to."""

    def __init__(self) -> None:
        self.full = False
        self.data = b""
        self.writes = 0
        self.free = threading.Event()
        self.free.set()

    def write(self, data: bytes) -> None:
        self.free.wait()
        self.writes += 1
        if self.full:
            raise OSError(28, "No space left on device")
        self.data += data

    def close(self) -> None:
        self.data += b"closed"


def test_a_line_says_everything(build: Build, tmp_path: Path) -> None:
    log = AccessLog.to_file(tmp_path / "access.log")
    log.invocation(build(outcome=Outcome.EXCEEDED_CPU, status=503, code="1102", fault="limit"))
    log.invocation(build(script=None, status=404))
    log.close()
    first, second = map(json.loads, (tmp_path / "access.log").read_text().splitlines())
    assert first == {
        "time": "2023-11-14T22:13:20.123Z",
        "ray": "ray-1",
        "method": "GET",
        "host": "acme-shop.localhost",
        "path": "/cart",
        "status": 503,
        "outcome": "exceededCpu",
        "code": "1102",
        "fault": "limit",
        "tenant": "acme",
        "namespace": "production",
        "script": "acme-shop",
        "version": "v1",
        "plan": "free",
        "cpuMs": 1.234,
        "wallMs": 3.0,
        "queueMs": 0.2,
        "bytesIn": 0,
        "bytesOut": 11,
        "subrequests": 0,
        "cold": False,
        "client": "203.0.113.9",
    }
    assert second["script"] is None


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    AccessLog.to_file(tmp_path / "access.log").close()
    assert stat.S_IMODE((tmp_path / "access.log").stat().st_mode) == 0o600


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "access.log").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        AccessLog.to_file(tmp_path / "access.log")


def test_a_path_cannot_forge_a_line_or_hide(build: Build, tmp_path: Path) -> None:
    invocation = build()
    invocation.request.path = b'/\n{"forged":1}\x1b[2J\x9b\x7f"' + b"x" * 10_000
    log = AccessLog.to_file(tmp_path / "access.log")
    log.invocation(invocation)
    log.close()
    text = (tmp_path / "access.log").read_bytes()
    assert text.count(b"\n") == 1
    assert b"\x1b" not in text
    assert b"\x7f" not in text
    assert b"\xc2\x9b" not in text
    assert len(json.loads(text)["path"]) == 2048


def test_it_is_written_without_being_asked(build: Build, tmp_path: Path) -> None:
    class Watched(ScriptedDisk):
        written = threading.Event()

        def write(self, data: bytes) -> None:
            super().write(data)
            self.written.set()

    disk = Watched()
    log = AccessLog(LineWriter(disk, name="test"))
    log.invocation(build())
    assert disk.written.wait(60)
    log.close()


def test_rotation_keeps_three(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "a.log", max_bytes=10)
    for number in range(6):
        sink.write(b"line-%d\n" % number)
    sink.close()
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {
        "a.log": "line-5\n",
        "a.log.1": "line-4\n",
        "a.log.2": "line-3\n",
        "a.log.3": "line-2\n",
    }


def test_two_that_write_to_one_file_rotate_it_once(tmp_path: Path) -> None:
    sinks = [FileSink(tmp_path / "a.log", max_bytes=20) for _ in range(2)]
    for number in range(8):
        sinks[number % 2].write(b"line-%d\n" % number)
    for sink in sinks:
        sink.close()
    files = sorted(tmp_path.iterdir(), reverse=True)
    lines = "".join(path.read_text() for path in files).split()
    assert lines == [f"line-{number}" for number in range(8)]


def test_a_log_that_exists_is_continued(tmp_path: Path) -> None:
    for number in range(2):
        sink = FileSink(tmp_path / "a.log")
        sink.write(b"%d\n" % number)
        sink.close()
    assert (tmp_path / "a.log").read_text() == "0\n1\n"


def test_a_full_disk_loses_lines_counts_them_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = ScriptedDisk()
    writer = LineWriter(disk, name="test")
    disk.full = True
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            writer.write(b"lost %d" % number)
            assert writer.flush()
        assert writer.dropped == 3
        disk.full = False
        writer.write(b"kept")
        writer.close()
    assert disk.data == b"kept\nclosed"
    assert [record.getMessage() for record in caplog.records] == [
        "log lines are being lost",
        "log lines are written again",
    ]


def test_a_stuck_disk_bounds_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_PENDING", 1000)
    disk = ScriptedDisk()
    disk.free.clear()
    writer = LineWriter(disk, name="test")
    for _ in range(100):
        writer.write(b"x" * 99)
    assert writer.dropped == 89
    assert not writer.flush(0.01)
    disk.free.set()
    writer.close()
    assert disk.data.count(b"\n") == 11
    writer.write(b"late")
    assert writer.dropped == 90


def test_many_lines_arrive_in_order_in_few_writes() -> None:
    disk = ScriptedDisk()
    writer = LineWriter(disk, name="test")
    for number in range(20_000):
        writer.write(b"%d" % number)
    writer.close()
    assert disk.data == b"".join(b"%d\n" % number for number in range(20_000)) + b"closed"
    assert disk.writes < 200
