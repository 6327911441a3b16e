"""A node goes and another comes: the sockets stay, and no request is lost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx
import pytest

from tests.support.raw import wire
from tests.support.served import Served, descendants, launch, serve, wait_until, wait_until_gone

WHO = """
import uuid
from workers import Response

me = ""

async def on_fetch(request):
    global me
    me = me or str(uuid.uuid4())
    return Response(me)
"""
UPLOAD = """
from workers import Response

async def on_fetch(request):
    return Response(await request.text())
"""


def _ask(served: Served, seen: list[str], enough: Event) -> None:
    """One client that keeps its connection, until ``enough``."""
    with httpx.Client(timeout=30) as client:
        while not enough.is_set():
            answer = client.get(served.facts["tenants"], headers={"Host": "who.localhost"})
            seen.append(f"{answer.status_code} {answer.text}")


def _reload_under_load(served: Served) -> set[str]:
    seen: list[str] = []
    enough = Event()
    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(_ask, served, seen, enough) for _ in range(8)]
        try:
            wait_until(lambda: len(seen) > 50)
            before = set(seen)
            served.process.send_signal(signal.SIGHUP)
            wait_until(lambda: bool(set(seen[-100:]) - before))
            target = len(seen) + 200
            wait_until(lambda: len(seen) > target)
        finally:
            enough.set()
        for client in clients:
            client.result()
    return set(seen)


def test_a_reload_loses_no_request_and_ends_the_old_node(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        served.deploy("who", WHO)
        old = descendants(served.process.pid)
        seen = _reload_under_load(served)
        assert {line.split()[0] for line in seen} == {"200"}
        assert len(seen) >= 2
        assert not wait_until_gone(old, 60)
        assert served.get("who").status_code == 200


def test_a_reload_takes_up_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "routing.yaml"
    config.write_text("routing: {base_domain: localhost}\n")
    with serve(tmp_path / "data", "--config", str(config)) as served:
        served.deploy("who", WHO)
        config.write_text("routing: {base_domain: example.com}\n")
        old = descendants(served.process.pid)
        served.process.send_signal(signal.SIGHUP)
        assert not wait_until_gone(old, 60)
        answer = httpx.get(served.facts["tenants"], headers={"Host": "who.example.com"}, timeout=10)
        assert answer.status_code == 200
        assert served.get("who").status_code == 404


def test_a_reload_that_fails_leaves_the_node_as_it_was(tmp_path: Path) -> None:
    config = tmp_path / "routing.yaml"
    config.write_text("routing: {base_domain: localhost}\n")
    errors = tmp_path / "errors"
    with (
        errors.open("w") as stderr,
        launch(tmp_path / "data", ["--config", str(config)], stderr=stderr) as served,
    ):
        served.deploy("who", WHO)
        before = served.get("who").text
        config.write_text("routing: {base_dom: localhost}\n")
        served.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the old one goes on" in errors.read_text())
        assert served.get("who").text == before


def test_a_node_that_dies_is_replaced_while_its_clients_wait(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        served.deploy("who", WHO)
        before = served.get("who").text
        old = descendants(served.process.pid)
        os.kill(served.node, signal.SIGKILL)
        assert served.get("who").text != before
        assert not wait_until_gone(old, 60)


@pytest.mark.parametrize("how", ["option", "systemd", "systemd without names"])
def test_a_listening_socket_can_be_inherited(tmp_path: Path, how: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tenants:
        port = tenants.getsockname()[1]
        options = ["--fd", "3"] if how == "option" else []
        environment = {
            "option": "",
            "systemd": "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=tenants;",
            "systemd without names": "export LISTEN_PID=$$ LISTEN_FDS=1;",
        }[how]
        held = tenants.fileno()
        shell = ["bash", "-c", f'exec 3<&{held}; {environment} exec "$@"', "bash"]
        with launch(tmp_path / "data", options, prefix=shell, pass_fds=[held]) as served:
            assert served.facts["tenants"] == f"http://127.0.0.1:{port}"
            served.deploy("who", WHO)
            assert served.get("who").status_code == 200
            served.process.terminate()
            assert served.process.wait(60) == 0
        assert _listens(port), "who holds the socket has others wait on it"


def test_a_descriptor_that_is_no_listening_socket_is_a_clear_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway", "serve", "--data-dir", str(tmp_path / "data")]
    done = subprocess.run(
        [*command, "--fd", "99", "--api-port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "descriptor 99 is no socket" in done.stderr


def test_while_a_node_drains_new_connections_are_refused(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        served.deploy("upload", UPLOAD)
        port = int(served.facts["tenants"].rpartition(":")[2])
        with wire(port) as under_way:
            under_way.send(
                b"POST / HTTP/1.1\r\nHost: upload.localhost\r\nContent-Length: 2\r\n\r\na"
            )
            assert served.get("upload").status_code == 200
            served.process.terminate()
            wait_until(lambda: not _listens(port))
            under_way.send(b"b")
            answer = under_way.answer()
        assert (answer.status, answer.body) == (200, b"ab")
        assert served.process.wait(60) == 0


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except OSError:
        return False
    return True
