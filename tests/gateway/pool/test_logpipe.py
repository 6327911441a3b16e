"""Lines from an instance's descriptors 1 and 2: none is lost, and a flood of them costs little."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.pool.channel import Channel
from gateway.pool.exchange import Exchange
from gateway.pool.fairness import A_TURN, Share
from gateway.pool.logpipe import LINE_COST, LINES_A_READ, MAX_LINE, PIPE_READ, LogPipe
from gateway.pool.logroom import LOG_BYTES
from tests.gateway.pool.test_channel import REQUEST, ROUTE
from tests.gateway.pool.test_fairness import turns_until

pytestmark = pytest.mark.anyio


def exchange() -> Exchange:
    channel = Channel(
        on_ready=lambda _: None,
        on_broken=lambda _: None,
        on_exception=lambda *_: None,
        cpu_ns=lambda: 0,
    )
    return channel.open(REQUEST, ROUTE)


@contextmanager
def pipe_of(share: Share, owner: Exchange) -> Iterator[tuple[LogPipe, int]]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    pipe = LogPipe(asyncio.get_running_loop(), share, lambda: owner)
    pipe.watch(reader)
    try:
        yield pipe, writer
    finally:
        pipe.close()
        os.close(reader)
        os.close(writer)


def texts(of: Exchange) -> list[str]:
    return [record.message[0] for record in of.logs]


async def test_lines_are_records() -> None:
    owner = exchange()
    with pipe_of(Share(), owner) as (_, writer):
        os.write(writer, b"one\n\ntwo\nthr")
        await turns_until(lambda: len(owner.logs) >= 3)
        os.write(writer, b"ee\n")
        await turns_until(lambda: len(owner.logs) >= 4)
    assert texts(owner) == ["one", "", "two", "three"]


async def test_many_lines_at_once_become_few_records_and_none_is_lost() -> None:
    owner = exchange()
    lines = [str(number) for number in range(10_000)]
    with pipe_of(Share(), owner) as (pipe, writer):
        os.write(writer, "\n".join(lines).encode() + b"\n")
        pipe.drain()
    assert "\n".join(texts(owner)).split("\n") == lines
    assert texts(owner)[:LINES_A_READ] == lines[:LINES_A_READ]
    assert len(owner.logs) <= LINES_A_READ + PIPE_READ // MAX_LINE + 2


async def test_a_flood_of_empty_lines_is_few_records() -> None:
    owner = exchange()
    with pipe_of(Share(), owner) as (pipe, writer):
        while not owner.truncated:
            os.write(writer, b"\n" * 60_000)
            pipe.drain()
        written = len(owner.logs)
        os.write(writer, b"more\n")
        pipe.drain()
    reads = LOG_BYTES // 60_000 + 1
    assert written == len(owner.logs) <= reads * (LINES_A_READ + PIPE_READ // MAX_LINE + 2)
    assert sum(len(text) + LINE_COST for text in texts(owner)) <= LOG_BYTES


async def test_a_line_without_end_is_cut() -> None:
    owner = exchange()
    with pipe_of(Share(), owner) as (pipe, writer):
        os.write(writer, b"x" * 50_000)
        pipe.drain()
        os.write(writer, b"short\n" * (LINES_A_READ + 1) + b"y" * 20_000 + b"\n")
        pipe.drain()
    assert texts(owner)[0] == "x" * MAX_LINE
    assert all(len(text) <= MAX_LINE for text in texts(owner))
    assert "".join(texts(owner)).count("y") == 20_000


async def test_pipes_of_one_tenant_take_turns() -> None:
    share, owners = Share(), [exchange() for _ in range(4)]
    with (
        pipe_of(share, owners[0]) as first,
        pipe_of(share, owners[1]) as second,
        pipe_of(share, owners[2]) as third,
        pipe_of(share, owners[3]) as fourth,
    ):
        for _, writer in (first, second, third, fourth):
            os.write(writer, b"x\n" * LINES_A_READ)
        for pipe, _ in (first, second, third, fourth):
            pipe.drain()
        assert share.waiting > 0
        assert share.spend(0)
        await turns_until(lambda: not share.waiting)
        os.write(first[1], b"again\n")
        await turns_until(lambda: len(owners[0].logs) >= LINES_A_READ + 1)
    assert all(len(owner.logs) >= LINES_A_READ > A_TURN for owner in owners)


async def test_output_that_is_dropped_counts_as_well() -> None:
    owner, share = exchange(), Share()
    owner.truncated = True
    with pipe_of(share, owner) as (pipe, writer):
        os.write(writer, b"x" * PIPE_READ)
        pipe.drain()
        assert share.waiting
        await turns_until(lambda: not share.waiting)
    assert not owner.logs
