"""Fronts of a node, as its operator puts them there: Caddy, nginx, HAProxy."""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.node import LiveNode

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
BASE = "apps.example.com"


class Front:
    """A TLS front on a port of this machine."""

    def __init__(self, node: LiveNode, port: int) -> None:
        self.node = node
        self.port = port
        self.source = "127.0.0.1"
        """The address that clients have."""

    def connect(self, hostname: str) -> http.client.HTTPConnection:
        """A TLS connection that asks for a hostname; its certificate is not judged."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        address = ("127.0.0.1", self.port)
        plain = socket.create_connection(address, timeout=60, source_address=(self.source, 0))
        connection = http.client.HTTPConnection(hostname)
        try:
            connection.sock = context.wrap_socket(plain, server_hostname=hostname)
        except BaseException:
            plain.close()
            raise
        return connection

    def ask(self, hostname: str, method: str = "GET", **more: Any) -> tuple[int, Any]:
        connection = self.connect(hostname)
        try:
            connection.request(method, "/", **more)
            answer = connection.getresponse()
            body = answer.read()
            return answer.status, json.loads(body) if answer.status == 200 else body
        finally:
            connection.close()


def free_port() -> int:
    """A port for a program that cannot be told to take any.

    Below those that the kernel gives out: it might give one of them to a connection, of this test
    or of others that run meanwhile, before the program has it.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(lowest // 2, lowest)  # noqa: S311
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextmanager
def running(command: list[str], port: int, **environment: str) -> Iterator[None]:
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, process.stdout.read().decode()
                assert time.monotonic() < deadline, "the front does not listen"
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=60)


def needs(program: str) -> str:
    """The program; nginx stands where an ordinary user's path does not lead."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def example(name: str, changes: dict[str, str]) -> str:
    """An example of the documentation, with its addresses and files replaced by those of here."""
    text = (EXAMPLES / name).read_text()
    for of_example, here in changes.items():
        assert of_example in text
        text = text.replace(of_example, here)
    return text


def certificate(directory: Path) -> tuple[Path, Path]:
    """A new certificate and its key."""
    new = f"req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN={BASE}".split()
    found, key = directory / "certificate.pem", directory / "key.pem"
    files = ["-keyout", str(key), "-out", str(found)]
    subprocess.run([needs("openssl"), *new, *files], check=True, capture_output=True)
    return found, key
