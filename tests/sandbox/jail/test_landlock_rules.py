"""What is asked of Landlock, by ABI."""

from __future__ import annotations

import struct

import pytest

from sandbox.jail import landlock


@pytest.mark.parametrize(("abi", "fields"), [(1, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3)])
def test_each_abi_gets_the_fields_it_knows(abi: int, fields: int) -> None:
    assert len(landlock.attributes(abi)) == 8 * fields


@pytest.mark.parametrize(("abi", "newest"), [(1, 12), (2, 13), (3, 14), (5, 15), (7, 15)])
def test_every_right_of_the_abi_is_handled(abi: int, newest: int) -> None:
    (handled,) = struct.unpack_from("=Q", landlock.attributes(abi))
    assert handled == (1 << (newest + 1)) - 1


def test_reading_does_not_mean_executing() -> None:
    assert not landlock.READ & landlock.EXECUTE
