"""Programs as web developers write them, on public frameworks, from the upload to the client."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import msgspec
import pytest

from gateway.config import Config
from gateway.pool.instance import Instance
from tests.e2e.programs import BOTTLE, DJANGO, FASTAPI, FLASK, PYODIDE
from tests.support.bundles import vendored
from tests.support.node import LiveNode, live_node


def with_django(config: Config) -> Config:
    # Without python-multipart: here a bundle brings it.
    packages = ("fastapi", "starlette", "flask", "django")
    return msgspec.structs.replace(
        config, runtime=msgspec.structs.replace(config.runtime, packages=packages)
    )


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with live_node(tmp_path_factory.mktemp("node"), with_django) as live:
        live.api.put("/v1/tenants/big", json={"plan": "enterprise"}).raise_for_status()
        yield live


def deploy(node: LiveNode, name: str, main: str, more: dict[str, str | bytes] | None = None) -> str:
    # One instance: what a program has in memory is there for its next request.
    answer = node.upload(name, {"main.py": main, **(more or {})}, limits={"instances": 1})
    assert answer.status_code == 200, answer.text
    return name


@pytest.fixture(scope="module")
def shop(node: LiveNode) -> str:
    files: dict[str, str | bytes] = {
        "templates/base.html": "<html>{% block main %}{% endblock %}</html>",
        "templates/item.html": '{% extends "base.html" %}{% block main %}{{ name }}{% endblock %}',
        "static/site.css": "body{}",
        "static/large.bin": b"x" * 600_000,
    }
    # The platform's Starlette was loaded without python-multipart: the bundle brings it.
    return deploy(node, "big-shop", FASTAPI, {**files, **vendored("python-multipart")})


def test_fastapi_forms_and_uploads(node: LiveNode, shop: str) -> None:
    assert node.request(shop, "/login", "POST", data={"name": "Ann"}).json() == {"name": "Ann"}
    files = {"file": ("a b.txt", b"x" * 300_000, "text/plain")}
    answer = node.request(shop, "/upload", "POST", files=files, data={"note": "n"})
    assert answer.json() == {"name": "a b.txt", "size": 300_000, "note": "n"}


def test_fastapi_files_templates_and_static_mounts(node: LiveNode, shop: str) -> None:
    assert node.request(shop, "/page/A&B").text == "<html>A&amp;B</html>"
    css = node.request(shop, "/static/site.css")
    assert (css.text, css.headers["content-type"]) == ("body{}", "text/css; charset=utf-8")
    part = node.request(shop, "/file", headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.headers["content-range"]) == (206, "bytes 5-9/600000")
    known = node.request(shop, "/static/site.css", headers={"If-None-Match": css.headers["etag"]})
    assert known.status_code == 304


def test_fastapi_middleware_sessions_and_cookies(node: LiveNode, shop: str) -> None:
    first = node.request(shop, "/session")
    cookie = first.headers["set-cookie"].split(";")[0]
    assert node.request(shop, "/session", headers={"Cookie": cookie}).json() == {"visits": 2}
    origin = {"Origin": "https://a.example"}
    assert node.request(shop, "/session", headers=origin).headers["access-control-allow-origin"]
    assert node.request(shop, "/docs").headers["content-encoding"] == "gzip"
    assert node.request(shop, "/session").headers["x-timed"] == "yes"


def test_fastapi_dependencies_background_tasks_and_errors(node: LiveNode, shop: str) -> None:
    answer = node.request(shop, "/depends?q=a&q=b", headers={"X-Token": "t"})
    assert answer.json() == {"q": ["a", "b"], "token": "t", "started": True}
    with node.tail(shop) as tail:
        assert node.request(shop, "/background").json() == {"queued": True}
        tail.wait()  # The invocation ends after its background tasks.
    assert node.request(shop, "/done").json() == ["dependency", "background"]
    assert node.request(shop, "/teapot").status_code == 418
    assert node.request(shop, "/api/users/7").json() == {"user": 7}
    assert node.request(shop, "/sub/where").json() == {"root": "/sub", "path": "/sub/where"}
    assert node.request(shop, "/stream").text == "0\n1\n2\n"
    assert node.request(shop, "/crash").status_code == 500
    assert "/api/users/{number}" in node.request(shop, "/openapi.json").json()["paths"]


@pytest.fixture(scope="module")
def site(node: LiveNode) -> str:
    return deploy(
        node,
        "big-site",
        FLASK,
        {
            "templates/base.html": "<b>{% block main %}{% endblock %}</b>",
            "templates/page.html": '{% extends "base.html" %}{% block main %}{{ n }}{% endblock %}',
            "static/a.txt": "static",
        },
    )


def test_flask_blueprints_templates_and_hooks(node: LiveNode, site: str) -> None:
    assert node.request(site, "/page?n=<i>").text == "<b>&lt;i&gt;</b>"
    assert node.request(site, "/shop/3").json() == {
        "url": "/shop/4",
        "absolute": "http://big-site.localhost/shop/4",
    }
    assert node.request(site, "/static/a.txt").text == "static"
    missing = node.request(site, "/missing")
    assert (missing.status_code, missing.text) == (404, "lost /missing")
    assert missing.headers["x-after"] == "before"
    assert node.request(site, "/divide").text == "caught"
    assert node.request(site, "/crash").status_code == 500


def test_flask_sessions_flashes_and_redirects(node: LiveNode, site: str) -> None:
    answer = node.request(site, "/flash")
    assert (answer.status_code, answer.headers["location"]) == (302, "/shown")
    cookie = {"Cookie": answer.headers["set-cookie"].split(";")[0]}
    assert node.request(site, "/shown", headers=cookie).json() == {"flashes": ["saved"], "n": 1}


def test_flask_uploads_files_and_streams(node: LiveNode, site: str) -> None:
    answer = node.request(site, "/upload", "POST", files={"f": ("n.txt", b"y" * 200_000)})
    assert answer.content == b"y" * 200_000
    assert "n.txt" in answer.headers["content-disposition"]
    assert node.request(site, "/stream").text == "/stream 0\n/stream 1\n"
    assert len(node.request(site, "/bytes").content) == 500_000
    assert node.request(site, "/json", "POST", json={"a": 1}).json() == {"a": 1}


def test_bottle_from_the_bundle(node: LiveNode) -> None:
    name = deploy(node, "big-bottle", BOTTLE, vendored("bottle"))
    assert node.request(name, "/hi/A&B").text == "<b>A&amp;B</b>"
    assert node.request(name, "/form", "POST", data={"a": "é"}).json() == {"a": "é"}
    assert node.request(name, "/stream").text == "ab"
    assert node.request(name, "/file").text == "# text"


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_django_from_the_platform(node: LiveNode, kind: str) -> None:
    source = DJANGO.replace("KIND", kind)
    name = deploy(node, f"big-{kind}", source, {"templates/page.html": "<p>{{ name }}</p>"})
    assert node.request(name, "/?name=<b>").text == "<p>&lt;b&gt;</p>"
    item = node.request(name, "/item/3/")
    assert item.json() == {"url": f"http://big-{kind}.localhost/item/3/", "next": "/item/4/"}
    assert node.request(name, "/rows").json() == {"rows": 1}
    files = {"f": ("a.txt", b"z" * 3_000_000)}
    assert node.request(name, "/upload", "POST", files=files).json() == {"size": 3_000_000}
    assert node.request(name, "/stream").text == "ab"
    assert node.request(name, "/form", "POST", data={"a": "1"}).status_code == 403
    assert node.request(name, "/crash").status_code == 500


def test_a_worker_written_for_pyodide(node: LiveNode) -> None:
    name = deploy(node, "big-pyodide", PYODIDE)
    made = node.request(name, "/json")
    assert (made.status_code, made.json()) == (201, {"a": 1})
    assert node.request(name, "/headers").headers["x-a"] == "1"
    assert node.request(name, "/bytes").content == b"\x89PNG"
    assert node.request(name, "/", "POST", content="abc").text == "ABC"
    assert node.request(name, "/asgi").json() == {"env": "none", "mode": "cors"}


LIBRARIES = """
import json
from workers import Response

def zone():
    from datetime import datetime
    from zoneinfo import ZoneInfo
    return str(datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Vienna")).utcoffset())

def database():
    import sqlite3
    db = sqlite3.connect("/tmp/a.db")
    db.execute("create table t(a)")
    return db.execute("select count(*) from t").fetchone()[0]

def threads():
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(3) as pool:
        return sum(pool.map(abs, [-1, -2]))

def copies():
    import os, shutil, tempfile
    target = tempfile.mkdtemp() + "/copy"
    shutil.copytree("/app/data", target)
    return sorted(os.listdir(target))

def home():
    import getpass, os.path, pathlib
    return [str(pathlib.Path.home()), os.path.expanduser("~/a"), getpass.getuser()]

def relative():
    with open("data/a.txt") as file:
        return file.read()

def media_types():
    import mimetypes
    return [mimetypes.guess_type(f"a.{ending}")[0] for ending in ("woff2", "js", "svg")]

def log():
    import logging.config
    handler = {"class": "logging.StreamHandler", "formatter": "f"}
    logging.config.dictConfig({"version": 1, "formatters": {"f": {"format": "F %(message)s"}},
                               "handlers": {"h": handler}, "root": {"handlers": ["h"]}})
    logging.getLogger("x").warning("configured")

def crash_dumps():
    import faulthandler
    faulthandler.enable()

def process():
    import subprocess
    subprocess.run(["ls"])

def existing_process():
    import os, subprocess
    subprocess.run(["./native.sh"], executable="data/a.txt")

def optional_process():
    import shutil, subprocess
    try:
        subprocess.check_output(["git", "--version"])
    except FileNotFoundError as error:
        return [error.filename, shutil.which("git")]

def optional_processes():
    from concurrent.futures import ProcessPoolExecutor
    try:
        return ProcessPoolExecutor()
    except NotImplementedError as error:
        return isinstance(error, OSError)

def semaphore():
    import multiprocessing
    multiprocessing.Lock()

def callback():
    import ctypes
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    compare(lambda a, b: 0)

def function_pointer():
    import ctypes
    return ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(("abs", ctypes.CDLL(None)))(-3)

def sockets():
    import socket
    socket.create_connection(("example.com", 80))

def compiled():
    import glob, shutil, sys
    shutil.copy(*glob.glob("/app/native*"), "/tmp")
    sys.path.insert(0, "/tmp")
    sys.path.remove("/app")
    import native

def time_of_files():
    import os
    return os.stat("/app/data/a.txt").st_mtime_ns % 1_000_000

def on_fetch(request):
    try:
        return Response.json({"result": globals()[request.url.rpartition("/")[2]]()})
    except Exception as error:
        return Response.json({"error": f"{type(error).__name__}: {error}"})
"""


@pytest.fixture(scope="module")
def libraries(node: LiveNode) -> str:
    more: dict[str, str | bytes] = {"data/a.txt": "a"}
    compiled = Path(str(importlib.import_module("msgspec._core").__file__))
    more[f"native{EXTENSION_SUFFIXES[0]}"] = compiled.read_bytes()
    return deploy(node, "big-libraries", LIBRARIES, more)


@pytest.mark.parametrize(
    ("what", "result"),
    [
        ("zone", "2:00:00"),
        ("database", 0),
        ("threads", 3),
        ("copies", ["a.txt"]),
        ("crash_dumps", None),
        ("home", ["/tmp", "/tmp/a", "worker"]),  # noqa: S108 - names in the jail
        ("relative", "a"),
        ("media_types", ["font/woff2", "text/javascript", "image/svg+xml"]),
        ("time_of_files", 0),
        ("optional_process", ["git", None]),
        ("optional_processes", True),
        ("function_pointer", 3),
    ],
)
def test_the_standard_library_does_its_work(
    node: LiveNode, libraries: str, what: str, result: object
) -> None:
    assert node.request(libraries, f"/{what}").json() == {"result": result}


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("process", "FileNotFoundError: [Errno 2] a worker cannot start processes"),
        ("existing_process", "PermissionError: [Errno 1] a worker cannot start processes"),
        ("semaphore", "a worker cannot start processes"),
        ("sockets", "use `await fetch(url)`"),
        ("callback", "NoCallbacks: a worker has no callbacks from C code"),
        ("compiled", "only what the bundle brings may be"),
    ],
)
def test_what_is_absent_says_so(node: LiveNode, libraries: str, what: str, words: str) -> None:
    assert words in node.request(libraries, f"/{what}").json()["error"]


def test_a_configured_stream_handler_reaches_the_tail(node: LiveNode, libraries: str) -> None:
    with node.tail(libraries) as tail:
        node.request(libraries, "/log")
        assert tail.wait()[0]["logs"][0]["message"] == ["F configured"]


def test_the_bundles_own_version_of_a_loaded_package_wins(node: LiveNode) -> None:
    source = """
import importlib.metadata
import click
from workers import Response
def on_fetch(request):
    return Response.json([click.__version__, importlib.metadata.version("click")])
"""
    more: dict[str, str | bytes] = {
        "python_modules/click/__init__.py": "__version__ = '0.0.1'\n",
        "python_modules/click-0.0.1.dist-info/METADATA": "Name: click\nVersion: 0.0.1\n",
    }
    assert node.request(deploy(node, "big-click", source, more)).json() == ["0.0.1", "0.0.1"]


def test_a_bundle_of_very_many_small_files_fits(node: LiveNode) -> None:
    source = """
import os
from workers import Response
COUNT = sum(len(files) for _, _, files in os.walk("/app"))
def on_fetch(request):
    return Response(str(COUNT))
"""
    more: dict[str, str | bytes] = {f"d{n}/a.txt": b"x" * 4097 for n in range(4000)}
    assert node.request(deploy(node, "big-many", source, more)).text == "4001"


def test_the_gateway_keeps_no_code_of_what_runs(node: LiveNode, site: str) -> None:
    assert node.request(site, "/static/a.txt").text == "static"
    running = [thing for thing in gc.get_objects() if isinstance(thing, Instance)]
    assert running
    assert all(instance.version.modules == () for instance in running)
