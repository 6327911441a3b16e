"""The audit log: newest entry first in pages, oldest first as a whole to keep elsewhere."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gateway.accounts import Scope
from gateway.api.endpoint import Call, endpoint
from gateway.api.errors import BadParameter
from gateway.api.faces import plain
from gateway.api.present import timestamp
from gateway.api.services import Services
from gateway.model.audit import AuditEntry, AuditQuery
from gateway.store.base import AuditStore

PATH: Final = "/v1/audit"
EXPORT: Final = f"{PATH}/export"
FILTERS: Final = ("tenant", "actor", "action", "target", "since", "until")
_PAGE: Final = 500
_COLUMNS: Final = (
    "number", "at", "actor", "actor_tenant", "actor_label", "address", "action", "target",
    "tenant", "status", "detail", "before", "after",
)  # fmt: skip
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula; names and labels are whatever somebody chose."""


class Format(NamedTuple):
    """A way to write entries down."""

    media_type: str
    suffix: str
    head: bytes
    write: Callable[[Sequence[AuditEntry]], bytes]


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [
        endpoint(services, PATH, "GET", _list, need=Scope.ADMIN),
        endpoint(services, EXPORT, "GET", _export, need=Scope.ADMIN),
    ]


async def _list(call: Call) -> Response:
    """List changes; a tenant sees those of its own things, made since it exists."""
    limit = call.count("limit", 100)
    before = call.count("before", 1, most=2**53) if call.query("before") else None
    query = msgspec.structs.replace(await _query(call), before=before)
    entries = await call.services.audit.list_audit(query, limit=limit)
    following = entries[-1].number if len(entries) == limit else None
    return plain({"entries": [_entry_json(item) for item in entries], "before": following})


async def _export(call: Call) -> Response:
    """Write down all changes that the filters leave, oldest first, as JSON lines or CSV."""
    name = call.query("format", "jsonl")
    chosen = _FORMATS.get(name)
    if chosen is None:
        raise BadParameter(f"query parameter 'format' has to be {' or '.join(_FORMATS)}")
    query = await _query(call)
    return StreamingResponse(
        _written(call.services.audit, query, chosen),
        media_type=chosen.media_type,
        headers={"content-disposition": f'attachment; filename="audit.{chosen.suffix}"'},
    )


async def _query(call: Call) -> AuditQuery:
    """What the caller asks for, of what it may see."""
    tenant = call.query("tenant") or None
    since_ms = _moment(call, "since") or 0
    if call.scope is not None:
        call.require_tenant(tenant or call.scope)
        found = await call.services.tenants.get(call.scope)
        tenant, since_ms = found.slug, max(since_ms, found.created_ms)
    return AuditQuery(
        tenant=tenant,
        since_ms=since_ms,
        until_ms=_moment(call, "until"),
        actor=call.query("actor") or None,
        action=call.query("action") or None,
        target=call.query("target") or None,
    )


def _moment(call: Call, name: str) -> int | None:
    """A moment in the query string, UTC where it has no time zone. Raises BadParameter."""
    text = call.query(name)
    if not text:
        return None
    try:
        # a plus sign is a space to those who decode forms
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise BadParameter(
            f"query parameter {name!r} has to be a day or a moment",
            fix="write 2030-01-31 or 2030-01-31T12:00:00Z",
        ) from None


async def _written(store: AuditStore, query: AuditQuery, chosen: Format) -> AsyncIterator[bytes]:
    """The entries, a page at a time, however many there are."""
    yield chosen.head
    number = 0
    while True:
        page = await store.list_audit(msgspec.structs.replace(query, after=number), limit=_PAGE)
        if page:
            yield chosen.write(page)
            number = page[-1].number
        if len(page) < _PAGE:
            return


def _entry_json(entry: AuditEntry) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(entry)
    shown["at"] = timestamp(shown.pop("at_ms"))
    return {"number": entry.number, "status": entry.status, **shown}


def _lines(entries: Sequence[AuditEntry]) -> bytes:
    return b"".join(msgspec.json.encode(_entry_json(item)) + b"\n" for item in entries)


def _rows(entries: Sequence[AuditEntry]) -> bytes:
    shown = (_entry_json(item) for item in entries)
    return _csv([_cell(item.get(name)) for name in _COLUMNS] for item in shown)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f"'{text}" if text.startswith(_FORMULA) else text


def _csv(rows: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


_FORMATS: Final = {
    "jsonl": Format("application/x-ndjson", "jsonl", b"", _lines),
    "csv": Format("text/csv; charset=utf-8", "csv", _csv([_COLUMNS]), _rows),
}
