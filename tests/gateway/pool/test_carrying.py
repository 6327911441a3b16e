"""CPU time granted for bodies: slow ones are carried, and fast ones hide no work."""

from __future__ import annotations

from gateway.pool.exchange import carrying_ns

MIB = 1 << 20
MS = 1_000_000


def test_a_fast_body_is_granted_a_millisecond_for_a_mebibyte() -> None:
    assert carrying_ns(MIB, 1 * MS) == carrying_ns(MIB, 4 * MS) == 1.024 * MS


def test_a_slow_one_up_to_twice_as_much_within_a_quarter_of_its_time() -> None:
    assert carrying_ns(MIB, 6 * MS) == 1.5 * MS
    assert carrying_ns(MIB, 60_000 * MS) == 2.048 * MS
