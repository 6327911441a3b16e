"""Who gives a connection up when there are no more."""

from __future__ import annotations

from gateway.edge.crowd import LOOKED_AT, Crowd, crowd_of


class Member:
    """A connection that is busy or not."""

    def __init__(self, *, busy: bool = False) -> None:
        self.busy = busy
        self.closed = False

    def give_way(self) -> bool:
        self.closed = not self.busy
        return self.closed


def joined(crowd: Crowd, address: str, count: int, *, busy: bool = False) -> list[Member]:
    members = [Member(busy=busy) for _ in range(count)]
    for member in members:
        crowd.join(address, member)
    return members


def test_the_oldest_idle_one_of_the_largest_gives_way() -> None:
    crowd = Crowd()
    small, busy = joined(crowd, "10.0.0.1", 2), joined(crowd, "10.0.0.2", 2, busy=True)
    large = joined(crowd, "10.0.0.2", 3)
    assert crowd.make_room(crowd.join("10.0.0.3", Member()), 1)
    assert [member.closed for member in busy + large + small] == [False] * 2 + [True] + [False] * 4


def test_who_has_as_many_gets_no_more() -> None:
    crowd = Crowd()
    members = joined(crowd, "10.0.0.1", 3) + joined(crowd, "10.0.0.2", 3)
    assert not crowd.make_room("10.0.0.1", 1)
    assert not any(member.closed for member in members)


def test_busy_ones_are_not_looked_at_again_and_again() -> None:
    crowd = Crowd()
    joined(crowd, "10.0.0.1", LOOKED_AT, busy=True)
    [idle] = joined(crowd, "10.0.0.1", 1)
    assert not crowd.make_room("10.0.0.2", 1)
    assert crowd.make_room("10.0.0.2", 2)
    assert idle.closed


def test_the_largest_may_be_gone_before_it_is_looked_for_again() -> None:
    crowd = Crowd()
    members = joined(crowd, "10.0.0.1", 3)
    joined(crowd, "10.0.0.2", 2)
    assert crowd.make_room("10.0.0.3", 1)
    for member in members:
        crowd.leave("10.0.0.1", member)
    assert crowd.make_room("10.0.0.3", 1)


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    crowd = Crowd()
    names = [crowd.join(f"2001:db8::{n}", Member()) for n in range(3)]
    assert set(names) == {crowd.join("2001:db8::ffff:1%eth0", Member())}
    assert crowd.join("2001:db8:0:1::1", Member()) not in names
    assert crowd.join("::ffff:10.0.0.1", Member()) == "10.0.0.1"
    assert crowd.join("", Member()) == ""


def test_each_listener_has_its_own() -> None:
    class Listener:
        pass

    first, second = Listener(), Listener()
    assert crowd_of(first) is crowd_of(first)
    assert crowd_of(first) is not crowd_of(second)
