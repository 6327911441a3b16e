"""What listing a thousand scripts costs, in this process's own CPU time: waiting does not count."""

from __future__ import annotations

import json
import time

import httpx
import pytest

from tests.support.control import NAMESPACES, Control, script_path, upload_parts

pytestmark = pytest.mark.anyio

SCRIPTS = 1000
MOST_SECONDS = 0.1


async def fill(control: Control, operator: httpx.AsyncClient) -> None:
    """One script that was deployed, and copies of its row."""
    first = script_path("acme-0000")
    assert (await operator.put(first, files=upload_parts({"tags": ["pro"]}))).is_success
    async with control.store._db.transaction() as connection:
        await connection.executemany(
            "INSERT INTO scripts (namespace, name, tenant, version_id, created_ms, modified_ms,"
            " etag, tags, handlers, limits) SELECT namespace, ?, tenant, version_id, created_ms,"
            " modified_ms, etag, tags, handlers, limits FROM scripts WHERE name = 'acme-0000'",
            [(f"acme-{number:04}",) for number in range(1, SCRIPTS)],
        )


@pytest.mark.parametrize(
    ("path", "size"),
    [
        (f"{NAMESPACES.format(account='platform')}/production/scripts", 1000),
        (f"{NAMESPACES.format(account='platform')}/production/scripts", 100),
        ("/client/v4/accounts/platform/workers/scripts", 1000),
    ],
)
async def test_a_thousand_scripts_are_listed_quickly(
    control: Control, operator: httpx.AsyncClient, path: str, size: int
) -> None:
    await fill(control, operator)
    spent = []
    for _ in range(3):
        names: list[str] = []
        started = time.process_time()
        for page in range(1, SCRIPTS // size + 1):
            query: dict[str, str | int] = {"per_page": size, "page": page, "tags": "pro:yes"}
            answer = await operator.get(path, params=query)
            names += [item["id"] for item in json.loads(answer.content)["result"]]
        spent.append(time.process_time() - started)
        assert names == [f"acme-{number:04}" for number in range(SCRIPTS)]
    # by pages of a hundred each of ten answers has the whole of the limit
    assert min(spent) < MOST_SECONDS * (SCRIPTS / size)
