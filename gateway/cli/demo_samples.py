"""The samples that ``waypost demo`` deploys, and the requests that it sends them."""

from __future__ import annotations

from importlib.util import find_spec

import msgspec


class Sample(msgspec.Struct, frozen=True):
    """A packaged project, its tenant and the tenant's plan."""

    directory: str
    script: str
    tenant: str
    plan: str
    what: str
    requires: str = ""
    """Package without which it is left out."""

    @property
    def runnable(self) -> bool:
        """What it requires is installed beside this program."""
        return not self.requires or find_spec(self.requires) is not None


class Shot(msgspec.Struct, frozen=True, kw_only=True):
    """One request of the demo and what must come back."""

    script: str
    path: str = "/"
    json: dict[str, object] | None = None
    form: dict[str, str] | None = None
    status: int = 200
    contains: str = ""
    outcome: str = "ok"
    code: str = ""

    @property
    def method(self) -> str:
        """GET, or POST when there is a body."""
        return "GET" if self.json is None and self.form is None else "POST"

    def as_curl(self, port: int) -> str:
        """The same request as a command line."""
        parts = [f"curl -H 'Host: {self.script}.localhost'"]
        if self.json is not None:
            body = msgspec.json.encode(self.json).decode()
            parts.append(f"--json '{body}'")
        parts += [f"-d '{key}={value}'" for key, value in (self.form or {}).items()]
        return " ".join([*parts, f"'http://127.0.0.1:{port}{self.path}'"])


SAMPLES = (
    Sample("hello", "hello", "hello", "pro", "a Worker"),
    Sample("shop", "acme-shop", "acme", "enterprise", "a FastAPI app", "fastapi"),
    Sample("guestbook", "acme-guestbook", "acme", "enterprise", "a Flask app", "flask"),
    Sample("burner", "burner", "burner", "free", "burns CPU"),
)

SHOTS = (
    Shot(script="hello", path="/?name=you", contains="Hello, you!"),
    Shot(
        script="acme-shop",
        path="/orders",
        json={"item": "tea", "count": 2},
        status=201,
        contains='"total":7.0',
    ),
    Shot(
        script="acme-shop",
        path="/orders",
        json={"item": "tea", "count": 0},
        status=422,
        contains="greater than 0",
    ),
    Shot(script="acme-guestbook", form={"name": "Ada"}, contains="Thank you, Ada!"),
    Shot(script="burner", status=503, outcome="exceededCpu", code="1102"),
)
