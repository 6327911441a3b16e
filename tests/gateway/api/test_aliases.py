"""What wrangler asks for without naming the dispatch namespace."""

from __future__ import annotations

import httpx
import pytest

from tests.support.control import script_path, upload_parts

pytestmark = pytest.mark.anyio

WORKERS = "/client/v4/accounts/{account}/workers/scripts/hello"


@pytest.mark.parametrize("what", ["secrets", "settings"])
async def test_default_namespace_answers(operator: httpx.AsyncClient, what: str) -> None:
    path = f"{WORKERS.format(account='platform')}/{what}"
    missing = await operator.get(path)
    assert (missing.status_code, missing.json()["errors"][0]["code"]) == (404, 10007)
    secret = {"name": "S", "type": "secret_text", "text": "hush"}
    await operator.put(script_path("hello"), files=upload_parts({"bindings": [secret]}))
    answer = await operator.get(path)
    assert (
        answer.json()["result"]
        == (await operator.get(f"{script_path('hello')}/{what}")).json()["result"]
    )
    assert "hush" not in answer.text
    foreign = await operator.get(f"{WORKERS.format(account='beta')}/{what}")
    assert foreign.status_code == 404
