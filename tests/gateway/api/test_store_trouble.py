"""What the machine does to the store: the control plane says so, and goes on when it is over."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import httpx
import pytest

from tests.support.control import Control, script_path, upload_parts

pytestmark = pytest.mark.anyio

PATH = script_path("acme")


def large_parts() -> dict[str, tuple[str | None, bytes, str]]:
    return {**upload_parts(), "big.bin": ("big.bin", bytes(1 << 20), "application/octet-stream")}


async def pragma(control: Control, text: str) -> int:
    rows = await control.store._db.writer.execute_fetchall(f"PRAGMA {text}")
    return int(next(iter(rows))[0])


async def test_a_full_disk_is_said_and_changes_nothing(
    control: Control, operator: httpx.AsyncClient
) -> None:
    assert (await operator.put(PATH, files=upload_parts())).status_code == 200
    pages = await pragma(control, "page_count")
    usual = await pragma(control, "max_page_count")
    await pragma(control, f"max_page_count={pages}")
    refused = await operator.put(PATH, files=large_parts())
    assert refused.status_code == 503
    error = refused.json()["errors"][0]
    assert error["code"] == 10013
    assert "the disk is full" in error["message"]
    assert (await operator.get("/v1/tenants")).status_code == 200
    await pragma(control, f"max_page_count={usual}")
    assert (await operator.put(PATH, files=large_parts())).status_code == 200


async def test_who_holds_the_store_delays_a_change_once_and_it_is_said(
    control: Control, operator: httpx.AsyncClient
) -> None:
    assert (await operator.put("/v1/tenants/acme")).is_success
    await pragma(control, "busy_timeout=50")
    with closing(sqlite3.connect(control.store._db._path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused = await operator.put("/v1/tenants/beta")
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "store"
        assert "another program holds it" in refused.json()["error"]["message"]
        listed = (await operator.get("/v1/tenants")).json()
    assert "beta" not in str(listed)
    assert (await operator.put("/v1/tenants/beta")).is_success
