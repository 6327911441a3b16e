"""Whole web applications as the deployed unit: FastAPI (ASGI) and Flask (WSGI)."""

from __future__ import annotations

import pytest

from tests.support.node import LiveNode

pytest.importorskip("fastapi")
pytest.importorskip("flask")

FASTAPI = """
from contextlib import asynccontextmanager
from fastapi import FastAPI, Request
from pydantic import BaseModel

starts = []

@asynccontextmanager
async def lifespan(app):
    starts.append(1)
    yield

app = FastAPI(title="Shop", lifespan=lifespan)

class Order(BaseModel):
    item: str
    quantity: int

@app.get("/items/{item_id}")
async def item(item_id: int, q: str = "none"):
    return {"item": item_id, "q": q}

@app.get("/sync")
def sync():
    return {"sync": True}

@app.post("/orders")
async def order(order: Order):
    return {"total": order.quantity * 2}

@app.get("/starts")
async def count(request: Request):
    return {"starts": len(starts), "client": request.client.host}
"""

FLASK = """
from flask import Flask, render_template, request

app = Flask(__name__)

@app.route("/")
def index():
    return render_template("index.html", name=request.args.get("name", "nobody"))

@app.route("/form", methods=["POST"])
def form():
    return f"got {request.form['field']} at {request.script_root}{request.path}"
"""


@pytest.fixture(scope="module")
def shop(node: LiveNode) -> LiveNode:
    node.deploy("shop", FASTAPI, plan="enterprise")
    return node


def test_fastapi_documents_itself(shop: LiveNode) -> None:
    assert "swagger" in shop.request("shop", "/docs").text.lower()
    assert shop.request("shop", "/openapi.json").json()["info"]["title"] == "Shop"


def test_fastapi_takes_path_and_query_parameters(shop: LiveNode) -> None:
    assert shop.request("shop", "/items/7?q=tea%20time").json() == {"item": 7, "q": "tea time"}
    assert shop.request("shop", "/items/seven").status_code == 422


def test_fastapi_validates_json_bodies(shop: LiveNode) -> None:
    good = shop.request("shop", "/orders", "POST", json={"item": "tea", "quantity": 4})
    assert good.json() == {"total": 8}
    bad = shop.request("shop", "/orders", "POST", json={"item": "tea", "quantity": "many"})
    assert bad.status_code == 422
    assert bad.json()["detail"][0]["loc"] == ["body", "quantity"]


def test_fastapi_sync_routes_run_in_threads(shop: LiveNode) -> None:
    assert shop.request("shop", "/sync").json() == {"sync": True}


def test_lifespan_runs_once_per_instance_not_per_request(shop: LiveNode) -> None:
    answers = [shop.request("shop", "/starts").json() for _ in range(5)]
    assert {answer["starts"] for answer in answers} == {1}
    assert answers[0]["client"] == "127.0.0.1"


def test_flask_renders_templates_and_takes_forms(node: LiveNode) -> None:
    modules: dict[str, str | bytes] = {
        "main.py": FLASK,
        "templates/index.html": "<h1>Hello {{ name }}</h1>",
    }
    node.api.put("/v1/tenants/flask", json={"plan": "enterprise"}).raise_for_status()
    assert node.upload("flask", modules).status_code == 200
    assert node.request("flask", "/?name=Ann").text == "<h1>Hello Ann</h1>"
    answer = node.request("flask", "/form", "POST", data={"field": "a&b"})
    assert answer.text == "got a&b at /form"


def test_a_lifespan_that_fails_is_an_upload_error(node: LiveNode) -> None:
    source = FASTAPI.replace("starts.append(1)", "raise RuntimeError('no database')")
    answer = node.upload("badlife", {"main.py": source})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == 10021
    assert "no database" in answer.json()["errors"][0]["message"]
