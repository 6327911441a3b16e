"""A control API that says what a test scripts, on a real socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typer.testing import CliRunner, Result

from gateway.cli.main import app

Answer = Callable[[Request, bytes], Response]


@dataclass
class Seen:
    """A request that the scripted API received."""

    method: str
    path: str
    """Still percent-encoded."""
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedApi:
    """Answers from ``answers`` by "METHOD /path"; anything else gets 404."""

    url: str = ""
    account: str = "platform"
    answers: dict[str, Answer] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    def says(self, call: str, value: object, status: int = 200) -> None:
        """Answer ``call`` with JSON."""
        self.answers[call] = lambda request, body: JSONResponse(value, status)

    async def handle(self, request: Request) -> Response:
        """Record the request and answer it."""
        body = await request.body()
        if request.url.path == "/client/v4/accounts":
            return JSONResponse({"success": True, "result": [{"id": self.account}]})
        path = request.url.path
        headers = dict(request.headers)
        raw_path = request.scope["raw_path"].decode()
        self.seen.append(Seen(request.method, raw_path, dict(request.query_params), headers, body))
        answer = self.answers.get(f"{request.method} {path}")
        if answer is None:
            return JSONResponse({"error": {"code": "not_found", "message": f"no {path}"}}, 404)
        return answer(request, body)


class _Server(uvicorn.Server):
    """Tells when it accepts connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    """A scripted control API."""
    scripted = ScriptedApi()
    methods = ["GET", "PUT", "POST", "DELETE"]
    starlette = Starlette(routes=[Route("/{path:path}", scripted.handle, methods=methods)])
    listener = socket.create_server(("127.0.0.1", 0))
    scripted.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = _Server(uvicorn.Config(starlette, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    assert server.ready.wait(60)
    yield scripted
    server.should_exit = True
    thread.join(60)
    listener.close()
    assert not thread.is_alive()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own: no test reads or writes a person's credentials."""
    for name in ("API", "TOKEN", "OPERATOR_TOKEN", "API_TOKEN"):
        monkeypatch.delenv(f"WAYPOST_{name}", raising=False)
    config = tmp_path / "config-home"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config))
    monkeypatch.chdir(tmp_path)
    return config


@pytest.fixture
def waypost(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command line in this process."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "dumb")
    runner = CliRunner()

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return runner.invoke(app, list(arguments), input=stdin)

    return run
