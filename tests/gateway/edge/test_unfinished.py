"""Heads that are not complete: who holds too much of them gives up, and nobody else."""

from __future__ import annotations

from gateway.edge.unfinished import MAX_OF_ALL, MAX_OF_ONE, Unfinished

HEAD = 160 * 1024


class Client:
    """A connection that sends a head and does not end it."""

    def __init__(self, unfinished: Unfinished, address: str) -> None:
        self._unfinished = unfinished
        self._address = address
        self.refused = False

    def send(self, size: int) -> None:
        self._unfinished.hold(self._address, self, size)

    def leave(self) -> None:
        self._unfinished.release(self._address, self)

    def head_is_too_much(self) -> None:
        self.refused = True
        self.leave()


def test_an_address_that_holds_too_much_is_refused_more() -> None:
    unfinished = Unfinished()
    clients = [Client(unfinished, "greedy") for _ in range(MAX_OF_ONE // HEAD)]
    for client in clients:
        client.send(HEAD // 2)
        client.send(HEAD)
    other, one_more = Client(unfinished, "other"), Client(unfinished, "greedy")
    other.send(HEAD)
    one_more.send(HEAD)
    assert one_more.refused
    assert not any(client.refused for client in [other, *clients])
    clients[0].leave()
    again = Client(unfinished, "greedy")
    again.send(HEAD)
    assert not again.refused


def test_the_address_that_holds_the_most_gives_up_for_all() -> None:
    unfinished = Unfinished()
    each = MAX_OF_ONE // HEAD
    addresses = range(MAX_OF_ALL // (each * HEAD))
    many = [Client(unfinished, str(address)) for address in addresses for _ in range(each)]
    for client in many:
        client.send(HEAD)
    quiet = Client(unfinished, "quiet")
    left = MAX_OF_ALL - unfinished.total
    quiet.send(left + 1)
    assert not quiet.refused
    assert sum(client.refused for client in many) == 1
    for client in [*many, quiet]:
        client.leave()
    assert unfinished.total == 0
