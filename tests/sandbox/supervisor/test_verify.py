"""The look from outside refuses whatever is not fully jailed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sandbox.errors import JailError
from sandbox.supervisor import verify

JAILED = {
    "Seccomp": "2",
    "NoNewPrivs": "1",
    "Threads": "1",
    "NSpid": "900 7 1",
    "Uid": "200001\t200001\t200001\t200001",
    "Gid": "200001\t200001\t200001\t200001",
    "CapInh": "0000000000000000",
    "CapPrm": "0000000000000000",
    "CapEff": "0000000000000000",
    "CapBnd": "0000000000000000",
    "CapAmb": "0000000000000000",
}


def test_a_jailed_process_passes() -> None:
    verify.check_status(JAILED, own_uid=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Seccomp", "0"),
        ("Seccomp", "1"),
        ("NoNewPrivs", "0"),
        ("Threads", "2"),
        ("NSpid", "900"),
        ("NSpid", "900 7 2"),
        ("NSpid", "900 1"),
        ("Uid", "0\t0\t0\t0"),
        ("Uid", "200001\t0\t200001\t200001"),
        ("Gid", "0\t0\t0\t0"),
        ("CapEff", "0000000000200000"),
        ("CapBnd", "000001ffffffffff"),
        ("CapAmb", "0000000000000001"),
    ],
)
def test_one_barrier_down_is_refused(field: str, value: str) -> None:
    with pytest.raises(JailError):
        verify.check_status({**JAILED, field: value}, own_uid=True)


@pytest.mark.parametrize("field", sorted(JAILED))
def test_a_missing_fact_is_refused(field: str) -> None:
    status = {name: value for name, value in JAILED.items() if name != field}
    with pytest.raises(JailError):
        verify.check_status(status, own_uid=True)


def test_an_ordinary_process_is_refused() -> None:
    with pytest.raises(JailError):
        verify.verify(os.getpid(), own_uid=False)


def test_one_that_shares_our_namespaces_is_refused_whatever_its_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verify, "read_status", lambda pid: JAILED)
    with pytest.raises(JailError, match="namespace"):
        verify.verify(os.getpid(), own_uid=True)


def test_a_process_that_is_gone_is_refused() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with pytest.raises(JailError, match="cannot be inspected"):
        verify.verify(gone.pid, own_uid=False)
