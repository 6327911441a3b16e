"""A control plane in a process of its own that changes one script on and on, until it is killed."""

from __future__ import annotations

import asyncio
import os
import signal
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx

from tests.support.control import control_plane, script_path, upload_parts

NAME = "acme"
SECRET = "S"


def change_forever(folder: Path, told: Connection, seed: int) -> None:
    """Say ``(number, False)`` before a change and ``(number, True)`` when it was answered."""
    asyncio.run(_change(folder, told, seed))


async def _change(folder: Path, told: Connection, seed: int) -> None:
    async with control_plane(folder) as plane, plane.client() as client:
        for number in count():
            told.send((number, False))
            answer = await _kinds[number % 3](client, f"{seed}.{number}")
            assert answer.is_success, answer.text
            told.send((number, True))


async def _upload(client: httpx.AsyncClient, word: str) -> httpx.Response:
    variable = {"type": "plain_text", "name": "WORD", "text": word}
    parts = upload_parts({"bindings": [variable]}, entry=word.encode(), other=word.encode())
    return await client.put(script_path(NAME), files=parts)


async def _secret(client: httpx.AsyncClient, word: str) -> httpx.Response:
    body = {"type": "secret_text", "name": SECRET, "text": word}
    return await client.put(f"{script_path(NAME)}/secrets", json=body)


async def _promote(client: httpx.AsyncClient, word: str) -> httpx.Response:
    """Make the version before the newest serve again."""
    listed = (await client.get(f"{script_path(NAME)}/versions")).json()["result"]["items"]
    body = {
        "strategy": "percentage",
        "versions": [{"version_id": listed[1]["id"], "percentage": 100}],
        "annotations": {"workers/message": word},
    }
    return await client.post(f"{script_path(NAME)}/deployments", json=body)


_kinds: tuple[Any, ...] = (_upload, _secret, _promote)


def kill(pid: int | None) -> None:
    """End a process as a power cut would."""
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
