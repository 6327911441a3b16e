"""Small applications that touch what tenants' applications usually touch."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from sandbox.runtime.adapter import Adapter
from sandbox.runtime.adapter_asgi import AsgiAdapter
from sandbox.runtime.adapter_worker import WorkerAdapter
from sandbox.runtime.adapter_wsgi import WsgiAdapter
from sandbox.runtime.workers import Request, Response, WorkerEntrypoint

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
REQUESTS = (
    ("GET", "/async/7?q=a%20b", "", b""),
    ("GET", "/sync/7", "", b""),
    ("POST", "/item", _JSON, b'{"name":"a","price":1.5}'),
    ("POST", "/item", _JSON, b'{"name":1}'),
    ("POST", "/form", _FORM, b"a=1&b=2"),
    ("GET", "/openapi.json", "", b""),
    ("GET", "/docs", "", b""),
    ("GET", "/missing", "", b""),
    ("DELETE", "/item", "", b""),
    ("GET", "/session", "", b""),
    ("GET", "/stream", "", b""),
    ("GET", "/crash", "", b""),
)
"""Method, path, Content-Type and body of what each sample is sent."""


class SampleError(Exception):
    """Raised on purpose, so that the ways of an uncaught exception are warm as well."""


def _crash(*_: Any, **__: Any) -> Any:
    raise SampleError("on purpose")


class _Default(WorkerEntrypoint):
    async def fetch(self, request: Request) -> Response:
        if request.url.endswith("/crash"):
            _crash()
        text = await request.text()
        return Response.from_json({"url": request.url, "agent": request.headers.get("user-agent"),
                                   "length": len(text)})  # fmt: skip


def _async(function: Callable[[], Any]) -> Callable[..., Any]:
    async def asynchronous(request: Any = None) -> Any:
        return function()

    return asynchronous


def worker() -> Adapter:
    """Build an asynchronous Worker."""
    return WorkerAdapter.for_class(_Default)


def synchronous_worker() -> Adapter:
    """Build a synchronous Worker."""

    def on_fetch(request: Request) -> Response:
        return Response(request.url, headers={"x-method": str(request.method)})

    return WorkerAdapter.for_function(on_fetch, ModuleType("sample"))


def wsgi() -> Adapter:
    """Build a plain WSGI application."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["wsgi.input"].read()
        if environ["PATH_INFO"] == "/crash":
            _crash()
        start_response("200 OK", [("content-type", "text/plain")])
        return [b"ok"]

    return WsgiAdapter(app)


def starlette() -> Adapter:
    """Build a Starlette application."""
    routing = importlib.import_module("starlette.routing")
    responses = importlib.import_module("starlette.responses")
    applications = importlib.import_module("starlette.applications")

    async def asynchronous(request: Any) -> Any:
        return responses.JSONResponse({"q": request.query_params.get("q")})

    def synchronous(request: Any) -> Any:
        return responses.PlainTextResponse(request.path_params["number"])

    async def item(request: Any) -> Any:
        return responses.JSONResponse(await request.json())

    async def form(request: Any) -> Any:
        # Without python-multipart there are no forms, which is no fault of the sample's.
        fields = await request.form() if "python_multipart" in sys.modules else {}
        return responses.JSONResponse(dict(fields))

    async def stream(request: Any) -> Any:
        return responses.StreamingResponse(iter(("a", "b")), media_type="text/plain")

    routes = [
        routing.Route("/async/{number}", asynchronous),
        routing.Route("/sync/{number}", synchronous),
        routing.Route("/item", item, methods=["POST"]),
        routing.Route("/form", form, methods=["POST"]),
        routing.Route("/stream", stream),
        routing.Route("/crash", _async(_crash)),
    ]
    return AsgiAdapter(applications.Starlette(routes=routes))


def fastapi() -> Adapter:
    """Build a FastAPI application with a validated body."""
    framework = importlib.import_module("fastapi")
    pydantic = importlib.import_module("pydantic")
    model = pydantic.create_model("Item", name=(str, ...), price=(float, 0.0))
    app = framework.FastAPI()

    async def asynchronous(number: int, q: str | None = None) -> dict[str, Any]:
        return {"number": number, "q": q}

    def synchronous(number: int) -> dict[str, Any]:
        return {"number": number}

    async def create(item: Any) -> Any:
        return item

    create.__annotations__ = {"item": model, "return": model}
    app.get("/async/{number}")(asynchronous)
    app.get("/sync/{number}")(synchronous)
    app.post("/item")(create)
    app.add_api_route("/crash", _async(_crash))
    return AsgiAdapter(app)


def flask() -> Adapter:
    """Build a Flask application with a form and a template."""
    framework = importlib.import_module("flask")
    app = framework.Flask("sample")

    def page(number: int) -> Any:
        return framework.render_template_string("{% for i in [n] %}<b>{{ i }}</b>{% endfor %}",
                                                n=number)  # fmt: skip

    def number_of(number: int) -> Any:
        return {"number": number, "q": framework.request.args.get("q")}

    def item() -> Any:
        return framework.jsonify(framework.request.get_json())

    def form() -> Any:
        return framework.request.form["a"]

    def session() -> Any:
        framework.session["a"] = framework.session.get("a", 0)
        framework.flash("a")
        return framework.redirect(framework.url_for("page", number=1))

    def stream() -> Any:
        return app.response_class(iter(("a", "b")), mimetype="text/plain")

    app.secret_key = "sample"  # noqa: S105 - of an application that nobody can reach
    app.add_url_rule("/async/<int:number>", "page", page)
    app.add_url_rule("/sync/<int:number>", "number_of", number_of)
    app.add_url_rule("/item", "item", item, methods=["POST"])
    app.add_url_rule("/form", "form", form, methods=["POST"])
    app.add_url_rule("/session", "session", session)
    app.add_url_rule("/stream", "stream", stream)
    app.add_url_rule("/crash", "crash", _crash)
    return WsgiAdapter(app)


SCRIPTS = {
    "fastapi": """
from fastapi import FastAPI

app = FastAPI()

@app.get("/")
async def root():
    return {"hello": "world"}
""",
    "flask": """
from flask import Flask

app = Flask(__name__)

@app.route("/")
def root():
    return "hello"
""",
}
"""The smallest script for a distribution."""
FRAMEWORKS: dict[str, Callable[[], Adapter]] = {
    "starlette": starlette,
    "fastapi": fastapi,
    "flask": flask,
}
"""What is exercised when the distribution of that name is preloaded."""
