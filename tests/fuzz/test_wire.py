"""Bytes that an instance may write: kept ones, and changed at random from them."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import ProtocolError, payloads
from tests.fuzz.wire import CORPUS, hear, seeds

ROUNDS = 4000
RUNS = 20_000


@pytest.mark.parametrize("name", [*seeds(), *(path.name for path in sorted(CORPUS.iterdir()))])
def test_kept_inputs_end_the_channel_or_are_ignored(name: str) -> None:
    data = seeds().get(name)
    inputs = [(CORPUS / name).read_bytes()] if data is None else [b"\x00" + data, b"\xff" + data]
    for each in inputs:
        for end in asyncio.run(hear(each)):
            assert isinstance(end, ProtocolError)


def test_honest_seeds_do_not_end_the_channel() -> None:
    hostile = {"key_that_is_a_list", "fields", "credit"}
    for name, data in seeds().items():
        ends = asyncio.run(hear(b"\x00" + data))
        assert bool(ends) == (name in hostile), (name, ends)


def test_frames_changed_at_random_end_the_channel_with_a_name_or_are_ignored() -> None:
    dice = random.Random(7)  # noqa: S311 - the same ones each time
    honest = list(seeds().values())

    async def play() -> int:
        return sum([bool(await hear(_changed(dice, honest))) for _ in range(ROUNDS)])

    ended = asyncio.run(play())
    assert ROUNDS // 10 < ended < ROUNDS


def _changed(dice: random.Random, honest: list[bytes]) -> bytes:
    """Some seeds, cut, joined, repeated, and with some of their bytes replaced."""
    data = bytearray(dice.randbytes(1))
    for _ in range(dice.randint(1, 6)):
        piece = dice.choice(honest) * dice.choice((1, 1, 1, 3))
        data += piece[: dice.randint(0, len(piece))] if dice.random() < 0.2 else piece
    for _ in range(dice.choice((0, 1, 1, 2, 8))):
        data[dice.randrange(len(data))] = dice.choice((0, 1, 2, 4, 6, 7, 0x7F, 0xFF, 0xC1))
    return bytes(data)


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_coverage_guided_inputs_find_nothing_new(tmp_path: Path) -> None:
    start = tmp_path / "seeds"
    start.mkdir()
    for name, data in seeds().items():
        (start / name).write_bytes(b"\x00" + data)
    command = [sys.executable, "-m", "tests.fuzz.guided", f"-runs={RUNS}", "-seed=7", "-timeout=5"]
    command += [f"-artifact_prefix={tmp_path}/", f"-max_len={payloads.MAX_ITEMS * 8}"]
    done = subprocess.run([*command, str(start), str(CORPUS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
