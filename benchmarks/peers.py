"""What users would put in Waypost's place. ``benchmarks/peers.sh`` installs it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.servers import free_port, running, uvicorn, uvicorn_command

PEERS = Path(os.environ.get("BENCHMARK_PEERS", ".waypost/peers"))
_SEARCH = os.pathsep.join(
    (str(PEERS / "node_modules/.bin"), str(PEERS / "venv/bin"), os.environ["PATH"], "/usr/sbin")
)
Peer = Callable[[str], contextlib.AbstractContextManager[int]]
"""Serves ``hello`` or ``streams``; yields the port."""

# As its users are told to set it up: kept connections to the application; no buffering, which
# would hold back events and put bodies on the disk.
_NGINX = """\
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_max_body_size 0; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
  scgi_temp_path {folder}/s; keepalive_requests 100000000;
  upstream app {{ server unix:{folder}/app.sock; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_buffering off; proxy_request_buffering off;
    }}
  }}
}}
"""
# A dispatching Worker picks the tenant's by the hostname, as on a dispatch namespace.
_WORKERD = """\
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "dispatch", worker = (
      modules = [(name = "dispatch.js", esModule = embed "dispatch.js")],
      compatibilityDate = "2025-01-01",
      bindings = [
        (name = "hello", service = "tenant"), (name = "streams", service = "tenant")])),
    (name = "tenant", worker = (
      modules = [(name = "tenant.js", esModule = embed "tenant.js")],
      compatibilityDate = "2025-01-01")),
  ],
  sockets = [(name = "http", address = "127.0.0.1:{port}", http = (), service = "dispatch")],
);
"""
_DISPATCH_JS = """\
export default {
  async fetch(request, env) {
    const name = new URL(request.url).hostname.split(".")[0];
    const tenant = env[name];
    return tenant ? tenant.fetch(request) : new Response("no such script", { status: 404 });
  },
};
"""
_TENANT_JS = """\
const piece = new Uint8Array(64 * 1024);
export default {
  async fetch(request) {
    const url = new URL(request.url);
    if (url.pathname === "/down") {
      let left = Number(url.search.slice(1));
      const { readable, writable } = new FixedLengthStream(left);
      (async () => {
        const writer = writable.getWriter();
        for (; left > 0; left -= piece.length)
          await writer.write(left < piece.length ? piece.subarray(0, left) : piece);
        await writer.close();
      })();
      return new Response(readable);
    }
    if (url.pathname === "/up") {
      let size = 0;
      for await (const chunk of request.body) size += chunk.length;
      return new Response(String(size));
    }
    return new Response("hello", { headers: { "content-type": "text/plain;charset=utf-8" } });
  },
};
"""


class Absent(Exception):
    """A peer that is not installed here."""


def _find(name: str) -> str:
    found = shutil.which(name, path=_SEARCH)
    if found is None:
        raise Absent(f"{name} is not installed: benchmarks/peers.sh")
    return found


@contextlib.contextmanager
def bare(app: str) -> Iterator[int]:
    """Bare uvicorn."""
    with uvicorn(app) as port:
        yield port


@contextlib.contextmanager
def nginx(app: str) -> Iterator[int]:
    """Uvicorn on a Unix socket behind nginx, one process each."""
    program, port = _find("nginx"), free_port()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        # The worker process is an ordinary user's when nginx is started by root.
        folder.chmod(0o777)
        behind = [*uvicorn_command(app), "--uds", str(folder / "app.sock")]
        stack.enter_context(running(behind, None))
        folder.joinpath("nginx.conf").write_text(_NGINX.format(folder=folder, port=port))
        command = [program, "-p", name, "-c", str(folder / "nginx.conf")]
        command += ["-e", str(folder / "error.log")]
        stack.enter_context(running(command, port))
        yield port


@contextlib.contextmanager
def workerd(app: str) -> Iterator[int]:
    """Workerd with a Worker that dispatches to another; it serves both applications."""
    program, port = _find("workerd"), free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.joinpath("config.capnp").write_text(_WORKERD.format(port=port))
        folder.joinpath("dispatch.js").write_text(_DISPATCH_JS)
        folder.joinpath("tenant.js").write_text(_TENANT_JS)
        with running([program, "serve", str(folder / "config.capnp")], port):
            yield port


@contextlib.contextmanager
def uwsgi(app: str) -> Iterator[int]:
    """The HTTP router of uWSGI with one worker process."""
    program, port = _find("uwsgi"), free_port()
    command = [program, "--http", f"127.0.0.1:{port}", "--http-keepalive", "--master"]
    command += ["--module", f"benchmarks.wsgi:{app}", "--pythonpath", str(Path.cwd())]
    command += ["--processes", "1", "--disable-logging", "--die-on-term", "--single-interpreter"]
    # Connections are kept, as at the others.
    command += ["--add-header", "Connection: keep-alive"]
    with running(command, port):
        yield port


@contextlib.contextmanager
def naive(app: str) -> Iterator[int]:
    """The proxy that people write first, before a bare uvicorn."""
    with (
        uvicorn(app) as upstream,
        uvicorn("proxy", UPSTREAM=f"http://127.0.0.1:{upstream}") as port,
    ):
        yield port


ALL: dict[str, Peer] = {
    "bare uvicorn": bare,
    "nginx → uvicorn": nginx,
    "workerd dispatch": workerd,
    "uWSGI http": uwsgi,
    "naive proxy": naive,
}


def start(
    stack: contextlib.ExitStack, app: str, names: tuple[str, ...] = tuple(ALL)
) -> tuple[dict[str, int], dict[str, str]]:
    """Start those that are there: their ports, and why the others are not."""
    ports: dict[str, int] = {}
    skipped: dict[str, str] = {}
    for name in names:
        try:
            ports[name] = stack.enter_context(ALL[name](app))
        except (Absent, RuntimeError) as error:
            skipped[name] = str(error)
            print(f"{name}: skipped ({error})", file=sys.stderr)
    return ports, skipped


def versions() -> dict[str, str]:
    """What the peers say they are."""
    asked = {"nginx": "-v", "workerd": "--version", "uwsgi": "--version"}
    said: dict[str, str] = {}
    for name, option in asked.items():
        with contextlib.suppress(Absent, OSError):
            done = subprocess.run(
                [_find(name), option], capture_output=True, text=True, check=False
            )
            said[name] = (done.stdout or done.stderr).split()[-1].removeprefix("nginx/")
    return said
