"""Lists of scripts: by page or by cursor, filtered by tags."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from gateway.api.endpoint import Call
from gateway.api.errors import BadParameter
from gateway.model.script import Script

_CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class ScriptPage:
    """One page of a list."""

    scripts: list[Script]
    info: dict[str, Any]
    """Cloudflare's result_info."""


async def list_scripts(call: Call, namespace: str, scope: str | None) -> ScriptPage:
    """The page that the query asks for: ``cursor`` and ``limit``, or ``page`` and ``per_page``.

    Past the end it is empty, because clients go on until it is.
    """
    size = call.count("limit", call.count("per_page", 100))
    page = call.count("page", 1, most=10**6)
    skip = (page - 1) * size
    found: list[Script] = []
    more = False
    async for script in tagged_scripts(call, namespace, scope):
        if skip:
            skip -= 1
        elif len(found) < size:
            found.append(script)
        else:
            more = True
            break
    cursor = found[-1].key.name if more else ""
    return ScriptPage(
        found, {"count": len(found), "page": page, "per_page": size, "cursor": cursor}
    )


async def tagged_scripts(call: Call, namespace: str, scope: str | None) -> AsyncIterator[Script]:
    """All scripts after the query's ``cursor`` that its ``tags`` let through."""
    wanted = tag_filter(call.query("tags"))
    async for script in _walk(call, namespace, scope):
        if all((tag in script.tags) is present for tag, present in wanted):
            yield script


async def _walk(call: Call, namespace: str, scope: str | None) -> AsyncIterator[Script]:
    after = call.query("cursor")
    while True:
        chunk = await call.services.scripts.list(namespace, scope=scope, after=after, limit=_CHUNK)
        for script in chunk:
            yield script
        if len(chunk) < _CHUNK:
            return
        after = chunk[-1].key.name


def tag_filter(text: str) -> list[tuple[str, bool]]:
    """``a:yes,b:no`` as pairs. Raises BadParameter."""
    pairs = []
    for item in filter(None, text.split(",")):
        tag, _, want = item.rpartition(":")
        if not tag or want not in ("yes", "no"):
            raise BadParameter(
                f"tag filter {item[:80]!r} is not understood", fix="write tags=name:yes,other:no"
            )
        pairs.append((tag, want == "yes"))
    return pairs
