"""What is asked of Landlock, by ABI."""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest

from sandbox.jail import landlock, syscalls


@pytest.mark.parametrize(("abi", "fields"), [(1, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3)])
def test_each_abi_gets_the_fields_it_knows(abi: int, fields: int) -> None:
    assert len(landlock.attributes(abi)) == 8 * fields


@pytest.mark.parametrize(("abi", "newest"), [(1, 12), (2, 13), (3, 14), (5, 15), (7, 15)])
def test_every_right_of_the_abi_is_handled(abi: int, newest: int) -> None:
    (handled,) = struct.unpack_from("=Q", landlock.attributes(abi))
    assert handled == (1 << (newest + 1)) - 1


def test_reading_does_not_mean_executing() -> None:
    assert not landlock.READ & landlock.EXECUTE


CONFINED = """
import os, sys
from sandbox.jail import credentials, landlock, syscalls
parent, abi = os.getppid(), syscalls.landlock_abi()
os.kill(parent, 0)
credentials.forbid_new_privileges()
landlock.restrict(abi, (), (), ())
try:
    os.kill(parent, 0)
    print("reached")
except PermissionError:
    print("refused")
"""


def test_signals_do_not_leave_it() -> None:
    if syscalls.landlock_abi() < landlock.SCOPES_ABI:
        pytest.skip("this kernel's Landlock knows no scopes")
    command = [sys.executable, "-c", CONFINED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "refused"


def test_tcp_and_scopes_are_all_handled() -> None:
    rights, tcp, scopes = struct.unpack("=3Q", landlock.attributes(landlock.SCOPES_ABI))
    assert (tcp, scopes) == (0b11, 0b11)
    assert rights
