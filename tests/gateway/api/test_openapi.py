"""The description of the API is the API's."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from gateway.api.openapi import OPEN, PAGE, PATH
from tests.support.control import Control

pytestmark = pytest.mark.anyio


@pytest.fixture
async def document(control: Control) -> dict[str, Any]:
    async with control.client(None) as client:
        answer = await client.get(PATH)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def test_every_route_is_described(control: Control, document: dict[str, Any]) -> None:
    routes = {
        (re.sub(r":\w+", "", getattr(route, "path", "")), method.lower())
        for route in control.app.routes
        for method in set(getattr(route, "methods", ()) or ()) - {"HEAD"}
    }
    described = {
        (path, method) for path, methods in document["paths"].items() for method in methods
    }
    assert described == routes - {(PATH, "get"), (PAGE, "get")}


async def test_operations_are_whole(document: dict[str, Any]) -> None:
    operations = [item for methods in document["paths"].values() for item in methods.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    assert all(operation["summary"] for operation in operations)


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    names = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert names <= set(document["components"]["schemas"])
    assert {"Envelope", "Error", "TokenBody", "NewDeployment"} <= names


async def test_what_needs_no_token_is_told(control: Control, document: dict[str, Any]) -> None:
    async with control.client(None) as client:
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                answer = await client.request(method, path.replace("{", "").replace("}", ""))
                assert (answer.status_code != 401) is (operation.get("security") == []), path
                assert (path in OPEN) is (operation.get("security") == [])


async def test_the_page_lists_every_path(control: Control, document: dict[str, Any]) -> None:
    async with control.client(None) as client:
        page = await client.get(PAGE)
    assert page.headers["content-type"].startswith("text/html")
    assert all(path in page.text for path in document["paths"])


async def test_types_of_bodies_are_those_that_read_them(
    operator: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content and "{" not in path:
                answer = await operator.request(method, path, json=5)
                assert answer.status_code == 400, path
