"""A version's own hostname, at a real node."""

from __future__ import annotations

import json

from tests.support.node import LiveNode

WORKER = "/client/v4/accounts/platform/workers/scripts"


def source(word: str) -> str:
    return (
        "from workers import Response, WorkerEntrypoint\n"
        "class Default(WorkerEntrypoint):\n"
        "    async def fetch(self, request):\n"
        f"        return Response({word!r}, headers={{'X-Robots-Tag': 'all'}})\n"
    )


def add(node: LiveNode, name: str, word: str, alias: str) -> str:
    metadata = {"main_module": "main.py", "annotations": {"workers/alias": alias}}
    files = {
        "metadata": (None, json.dumps(metadata), "application/json"),
        "main.py": ("main.py", source(word), "text/x-python"),
    }
    answer = node.api.post(f"{WORKER}/{name}/versions", files=files)
    assert answer.status_code == 200, answer.text
    result = answer.json()["result"]
    assert result["metadata"]["has_preview"] is True
    assert result["waypost"]["preview_urls"][1].startswith(f"http://{alias}-{name}.localhost")
    return str(result["id"])


def test_a_waiting_version_answers_where_it_says_and_nowhere_else(node: LiveNode) -> None:
    first = node.deploy("shown", source("one"))["deployment_id"]
    waiting = add(node, "shown", "two", "next")
    assert node.request("shown").text == "one"
    for label, word in ((waiting[:8], "two"), ("next", "two"), (first[:8], "one")):
        # The second one finds its instance, and its hostname, at hand.
        for _ in range(2):
            answer = node.request(f"{label}-shown")
            assert answer.text == word
            assert answer.headers.get_list("x-robots-tag") == ["noindex"]
    # the script's own hostname says what its code says
    assert node.request("shown").headers["x-robots-tag"] == "all"
    assert node.request("00000000-shown").status_code == 404

    switched = {"enabled": True, "previews_enabled": False}
    node.api.post(f"{WORKER}/shown/subdomain", json=switched).raise_for_status()
    assert node.request(f"{waiting[:8]}-shown").status_code == 404
    assert node.request("shown").text == "one"


def test_a_preview_in_the_tail_is_the_script(node: LiveNode) -> None:
    node.deploy("traced", source("one"))
    waiting = add(node, "traced", "two", "next")
    with node.tail("traced") as tail:
        node.request("next-traced")
        (event,) = tail.wait()
    assert (event["scriptName"], event["scriptVersion"]["id"]) == ("traced", waiting)
