"""WSGI applications, plain, Flask's and behind a Worker's fetch handler."""

from __future__ import annotations

import json

import pytest

from sandbox.payloads import Ready
from sandbox.protocol import WINDOW
from tests.sandbox.runtime.peer import Instance

ENVIRON = """
import json
def app(environ, start_response):
    shown = {k: v for k, v in environ.items() if isinstance(v, (str, bool, tuple))}
    shown["body"] = environ["wsgi.input"].read().decode()
    shown["env"] = environ["workers.env"].NAME
    environ["wsgi.errors"].write("to the log\\n")
    start_response("201 Created", [("X-A", "1"), ("Set-Cookie", "a"), ("Set-Cookie", "b")])
    return [json.dumps(shown).encode()]
"""


def test_environ(instance: Instance) -> None:
    assert isinstance(instance.load(ENVIRON, env={"NAME": "n"}), Ready)
    headers = {"content-type": "text/x", "cookie": "a=b", "x-some-thing": "v"}
    path = "/m/a%20%C3%A9?c=d"
    reply = instance.get(path, method="POST", body=b"data", headers=headers, mount="/m")
    assert (reply.status, reply.header("set-cookie")) == (201, ["a", "b"])
    assert reply.lines("error") == ["to the log"]
    environ = json.loads(reply.body)
    expected = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "/m",
        "PATH_INFO": "/a \u00c3\u00a9",
        "QUERY_STRING": "c=d",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "4",
        "SERVER_NAME": "hello.example.com",
        "SERVER_PORT": "8443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.7",
        "HTTP_HOST": "hello.example.com:8443",
        "HTTP_COOKIE": "a=b",
        "HTTP_X_SOME_THING": "v",
        "wsgi.url_scheme": "https",
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.version": [1, 0],
        "body": "data",
        "env": "n",
    }
    assert expected.items() <= environ.items()


def serve(instance: Instance, body: str) -> None:
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    instance.load(f"import sys\ndef app(environ, start_response):\n{lines}\n")


def test_generators_stream_and_are_closed(instance: Instance) -> None:
    source = """
class Body:
    def __init__(self): self.left = 40
    def __iter__(self): return self
    def __next__(self):
        self.left -= 1
        if self.left < 0: raise StopIteration
        return b"" if self.left % 2 else b"x" * 20_000
    def close(self): print("closed")
def app(environ, start_response):
    start_response("200 OK", [])
    return Body()
"""
    instance.load(source)
    instance.give_credit = False
    stream = instance.open()
    instance.until(lambda: instance.credit[stream] == 0)
    instance.give_credit = True
    instance.grant(stream, WINDOW)
    reply = instance.finish(stream)
    assert len(reply.body) == 400_000
    assert reply.lines("log") == ["closed"]


def test_the_iterable_is_closed_when_it_raises(instance: Instance) -> None:
    source = """
class Body:
    def __iter__(self):
        yield b"some"
        raise ValueError("middle")
    def close(self): print("closed")
def app(environ, start_response):
    start_response("200 OK", [])
    return Body()
"""
    instance.load(source)
    reply = instance.get()
    assert (reply.body, reply.ended) == (b"some", False)
    assert reply.exceptions[0].message == "middle"
    assert reply.lines("log") == ["closed"]


def test_write_and_late_start_response(instance: Instance) -> None:
    serve(
        instance,
        """
if environ["PATH_INFO"] == "/write":
    write = start_response("200 OK", [])
    write(b"written ")
    return [b"returned"]
def late():
    start_response("202 Accepted", [])
    yield b""
    yield b"late"
return late()
""",
    )
    assert instance.get("/write").body == b"written returned"
    reply = instance.get("/late")
    assert (reply.status, reply.body) == (202, b"late")


def test_start_response_again_with_exc_info(instance: Instance) -> None:
    serve(
        instance,
        """
start_response("200 OK", [("x-a", "first")])
try:
    1 / 0
except ZeroDivisionError:
    if environ["PATH_INFO"] == "/late":
        start_response("200 OK", [], sys.exc_info())(b"sent")
    start_response("500 Oops", [("x-a", "second")], sys.exc_info())
return [b"sorry"]
""",
    )
    reply = instance.get("/early")
    assert (reply.status, reply.header("x-a"), reply.body) == (500, ["second"], b"sorry")
    late = instance.get("/late")
    assert (late.body, late.ended) == (b"sent", False)
    assert late.exceptions[0].name == "ZeroDivisionError"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return [b'x']", "did not call start_response"),
        ("start_response('200 OK', [])\nstart_response('200 OK', [])", "called twice"),
        ("start_response('ok', [])", "does not begin with a number"),
        ("start_response('100 Continue', [])", "outside of 200"),
        ("start_response('200 OK', [('a', 'b\\r')])\nreturn []", "CR, LF or NUL"),
        ("start_response('200 OK', [])\nreturn ['text']", "bytes"),
        ("start_response('200 OK', [])\nreturn iter(['text'])", "yields bytes"),
        ("start_response('200 OK', [])\nreturn None", "NoneType"),
    ],
)
def test_applications_that_break_the_rules(instance: Instance, body: str, words: str) -> None:
    serve(instance, body)
    reply = instance.get()
    assert words in reply.exceptions[0].message


def test_the_body_is_read_lazily_and_gives_credit(instance: Instance) -> None:
    serve(
        instance,
        """
start_response("200 OK", [])
source = environ["wsgi.input"]
yield source.readline()
yield b"%d" % len(source.read())
""",
    )
    stream = instance.open(method="POST", stream_body=True)
    reply = instance.replies[stream]
    instance.send_body(stream, b"line\n", end=False)
    # readline() peeks for a whole buffer: what is there must be enough for it to answer.
    instance.until(lambda: reply.body == b"line\n")
    for _ in range(4):
        instance.send_body(stream, b"x" * 60_000, end=False)
    instance.until(lambda: instance.credit.get(-stream, 0) >= WINDOW // 2)
    instance.send_body(stream, b"x" * 60_000, end=True)
    assert instance.finish(stream).body == b"line\n300000"


FLASK = """
import flask
app = flask.Flask(__name__)
@app.post("/form")
def form():
    print("handling")
    app.logger.warning("careful")
    return flask.request.form["a"] + flask.request.files["f"].read().decode()
@app.get("/stream")
def stream():
    return flask.Response((str(number) for number in range(5)), mimetype="text/plain")
@app.get("/page")
def page():
    return flask.render_template("page.html", n=3)
@app.get("/url")
def url():
    return flask.url_for("page", _external=True)
@app.get("/broken")
def broken():
    raise ValueError("broken view")
"""


def test_flask(instance: Instance) -> None:
    instance.load({"worker.py": FLASK, "templates/page.html": "<b>{{ n }}</b>"})
    body = (
        b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\none \r\n'
        b'--B\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\ntwo\r\n--B--\r\n'
    )
    headers = {"content-type": "multipart/form-data; boundary=B"}
    reply = instance.get("/form", method="POST", body=body, headers=headers)
    assert reply.body == b"one two"
    assert reply.lines("log") == ["handling"]
    assert reply.lines("warn") == ["careful"]
    assert instance.get("/stream").body == b"01234"
    assert instance.get("/page").body == b"<b>3</b>"
    assert instance.get("/m/url", mount="/m").body == b"https://hello.example.com:8443/m/page"
    broken = instance.get("/broken")
    assert broken.status == 500
    assert "broken view" in broken.lines("error")[0]


@pytest.mark.parametrize("lazy", [False, True])
def test_wsgi_behind_a_fetch_handler(instance: Instance, lazy: bool) -> None:
    source = f"""
from workers import WorkerEntrypoint, wsgi
def app(environ, start_response):
    def body():
        yield environ["wsgi.input"].read()
        yield environ["workers.env"].NAME.encode()
    start_response("201 Created", [("X-A", "1")])
    return body() if {lazy} else list(body())
class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return await wsgi.fetch(app, request, self.env)
"""
    instance.load(source, env={"NAME": "n"})
    reply = instance.get(method="POST", body=b"data-")
    assert (reply.status, reply.header("x-a"), reply.body) == (201, ["1"], b"data-n")
