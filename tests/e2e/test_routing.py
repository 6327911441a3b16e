"""Which script a hostname reaches, that changes act at once, and what nobody answers to."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from gateway.config import Config, Routing
from tests.support.node import LiveNode, live_node

SCRIPT = """
from workers import Response
async def on_fetch(request):
    return Response("{name}")
"""


def deploy(node: LiveNode, name: str) -> None:
    node.deploy(name, SCRIPT.replace("{name}", name))


def get(node: LiveNode, host: str, path: str = "/", **headers: str) -> tuple[int, str]:
    answer = node.client.get(path, headers={"Host": host, **headers})
    return answer.status_code, answer.text


def test_unknown_hostnames_are_not_configured(node: LiveNode) -> None:
    for host in ("nobody.localhost", "example.org", "localhost", "127.0.0.1", "a.b.localhost"):
        answer = node.client.get("/", headers={"Host": host})
        assert answer.status_code == 404, host
        assert "Hostname not configured" in answer.text
        assert answer.headers["waypost-code"] == "hostname_not_configured"
        assert answer.headers["waypost-outcome"] == "scriptNotFound"
        assert answer.headers["waypost-ray"]


def test_reserved_and_malformed_labels_never_reach_a_script(node: LiveNode) -> None:
    for label in ("www", "admin", "api", "-x", "x-", "a--b", "a_b"):
        status, _ = get(node, f"{label}.localhost")
        assert status in (400, 404), label


def test_a_custom_hostname_acts_from_the_next_request_until_it_is_removed(node: LiveNode) -> None:
    deploy(node, "acme")
    deploy(node, "other")
    assert get(node, "shop.example.org")[0] == 404
    node.api.put("/v1/routes/Shop.Example.org", json={"script": "acme"}).raise_for_status()
    assert get(node, "shop.example.org") == (200, "acme")
    node.api.put("/v1/routes/shop.example.org", json={"script": "other"}).raise_for_status()
    assert get(node, "SHOP.example.org.") == (200, "other")
    node.api.delete("/v1/routes/shop.example.org").raise_for_status()
    assert get(node, "shop.example.org")[0] == 404


def test_internationalised_hostnames_meet_as_a_labels(node: LiveNode) -> None:
    deploy(node, "acme")
    node.api.put("/v1/routes/bücher.example", json={"script": "acme"}).raise_for_status()
    assert get(node, "xn--bcher-kva.example") == (200, "acme")


def test_a_route_to_a_script_that_is_gone_says_so(node: LiveNode) -> None:
    deploy(node, "gone")
    node.api.put("/v1/routes/gone.example", json={"script": "gone"}).raise_for_status()
    assert get(node, "gone.example") == (200, "gone")
    scripts = "/client/v4/accounts/platform/workers/dispatch/namespaces/production/scripts"
    node.api.delete(f"{scripts}/gone").raise_for_status()
    answer = node.client.get("/", headers={"Host": "gone.example"})
    assert (answer.status_code, answer.headers["waypost-code"]) == (404, "script_not_found")


def test_a_suspended_tenant_is_refused_and_comes_back(node: LiveNode) -> None:
    deploy(node, "unpaid")
    assert get(node, "unpaid.localhost") == (200, "unpaid")
    node.api.put("/v1/tenants/unpaid", json={"status": "suspended"}).raise_for_status()
    answer = node.client.get("/", headers={"Host": "unpaid.localhost"})
    assert (answer.status_code, answer.headers["waypost-outcome"]) == (403, "killSwitch")
    node.api.put("/v1/tenants/unpaid", json={"status": "active"}).raise_for_status()
    assert get(node, "unpaid.localhost") == (200, "unpaid")


@pytest.fixture(scope="module")
def edged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """A node with a functions domain, and loopback as its trusted proxy."""

    def change(config: Config) -> Config:
        routing = Routing(
            functions_domain="fn.example",
            tenant_header="X-Tenant-Id",
            trusted_proxies=("127.0.0.0/8",),
        )
        return msgspec.structs.replace(config, routing=routing)

    with live_node(tmp_path_factory.mktemp("edged"), change) as live:
        yield live


WHERE = """
from workers import Response
async def on_fetch(request):
    return Response(request.url)
"""


def test_customer_and_function_in_the_path_reach_customer_function(edged: LiveNode) -> None:
    edged.deploy("acme-hello", WHERE)
    assert get(edged, "fn.example", "/acme/hello/a?b=1") == (
        200,
        "http://fn.example/acme/hello/a?b=1",
    )
    for path in ("/acme", "/", "/acme/", "/acme/nope/x", "/../x/y", "/%61cme/hello"):
        assert get(edged, "fn.example", path)[0] == 404, path


def test_the_tenant_header_is_believed_from_trusted_proxies_only(
    edged: LiveNode, node: LiveNode
) -> None:
    deploy(edged, "acme")
    deploy(node, "acme")
    header = {"X-Tenant-Id": "acme"}
    assert get(edged, "any.example", **header) == (200, "acme")
    assert get(node, "any.example", **header)[0] == 404


def test_forwarded_headers_of_a_trusted_proxy_make_the_url(edged: LiveNode, node: LiveNode) -> None:
    edged.deploy("where", WHERE)
    node.deploy("where", WHERE)
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "where.localhost"}
    assert get(edged, "inner.example", **forwarded) == (200, "https://where.localhost/")
    assert get(node, "where.localhost", **forwarded) == (200, "http://where.localhost/")
