"""A tenant's custom hostname on a whole node: from the claim to the answer, over a TXT record."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.message
import dns.rrset
import httpx
from msgspec.structs import replace

from gateway.config import Config, HostnameRules
from tests.support.node import live_node
from tests.support.served import wait_until

HOST = "shop.example"
SOURCE = "from workers import Response\nasync def on_fetch(request):\n    return Response('mine')\n"


class NameServer:
    """Answers TXT questions with what was published."""

    def __init__(self) -> None:
        self.published: dict[str, str] = {}
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        while data := self.socket.recvfrom(4096):
            if not data[0]:
                return
            query = dns.message.from_wire(data[0])
            answer = dns.message.make_response(query)
            name = query.question[0].name.to_text()
            if name in self.published:
                text = f'"{self.published[name]}"'
                answer.answer.append(dns.rrset.from_text(name, 1, "IN", "TXT", text))
            self.socket.sendto(answer.to_wire(), data[1])

    def close(self) -> None:
        self.socket.sendto(b"", self.socket.getsockname())
        self.thread.join()
        self.socket.close()


@contextmanager
def name_server() -> Iterator[NameServer]:
    server = NameServer()
    try:
        yield server
    finally:
        server.close()


def test_a_hostname_answers_once_it_is_shown(tmp_path: Path) -> None:
    with name_server() as names:

        def change(config: Config) -> Config:
            return replace(config, hostnames=HostnameRules(resolver=names.address))

        with live_node(tmp_path, change) as node:
            node.deploy("acme", SOURCE)
            token = node.api.post("/v1/tenants/acme/tokens").json()["token"]
            headers = {"authorization": f"Bearer {token}"}

            def ask() -> int:
                return node.client.get("/", headers={"host": HOST}).status_code

            def may_have_certificate() -> bool:
                return node.api.get("/v1/tls/ask", params={"domain": HOST}).is_success

            route = f"/v1/routes/{HOST}"
            with httpx.Client(base_url=node.api.base_url, headers=headers, timeout=30) as tenant:
                claimed = tenant.put(route, json={"script": "acme"})
                assert (claimed.status_code, ask(), may_have_certificate()) == (202, 404, False)
                early = tenant.post(f"{route}/verify")
                assert early.json()["verification_errors"] == [
                    f"there is no TXT record _cf-custom-hostname.{HOST}"
                ]
                wanted = claimed.json()["ownership_verification"]
                names.published[f"{wanted['name']}."] = wanted["value"]
                assert (ask(), may_have_certificate()) == (404, False)
                assert tenant.post(f"{route}/verify").json()["status"] == "active"
                assert (ask(), may_have_certificate()) == (200, True)


def test_a_hostname_answers_by_itself_once_it_is_shown(tmp_path: Path) -> None:
    with name_server() as names:

        def change(config: Config) -> Config:
            rules = HostnameRules(resolver=names.address, recheck_seconds=0.1)
            return replace(config, hostnames=rules)

        with live_node(tmp_path, change) as node:
            node.deploy("acme", SOURCE)
            token = node.api.post("/v1/tenants/acme/tokens").json()["token"]
            headers = {"authorization": f"Bearer {token}"}
            with httpx.Client(base_url=node.api.base_url, headers=headers, timeout=30) as tenant:
                claimed = tenant.put(f"/v1/routes/{HOST}", json={"script": "acme"})
            assert claimed.status_code == 202
            wanted = claimed.json()["ownership_verification"]
            names.published[f"{wanted['name']}."] = wanted["value"]
            asked = {"host": HOST}
            wait_until(lambda: node.client.get("/", headers=asked).status_code == 200)
