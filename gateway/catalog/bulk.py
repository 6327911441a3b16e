"""Many routes at once: checked line by line as they come in, then stored in one transaction.

Checked rows wait in a temporary file, so that neither their number nor a slow client holds memory
or the store's writer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import msgspec
from cachetools import LRUCache

from gateway.catalog.hostnames import PREFIX, Hostnames, HostnamesStore
from gateway.catalog.owners import Owners, owner_within
from gateway.errors import ControlError
from gateway.model.route import HostnameRecord
from gateway.observer import Changes

MAX_LINE: Final = 4096
"""Longest line, bytes."""
_IN_MEMORY: Final = 4 << 20
_CACHED: Final = 10_000


class RouteLine(msgspec.Struct, forbid_unknown_fields=True):
    """One line of a bulk request."""

    hostname: str
    script: str
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class BulkStored:
    """What a bulk request did."""

    routes: int
    tenants_created: int


class BulkError(ControlError):
    """A line of a bulk request is wrong; nothing was stored."""

    word = "bad_line"


_line = msgspec.json.Decoder(RouteLine)


class BulkRoutes:
    """One bulk request of the operator's: ``add`` lines, then ``commit`` once."""

    def __init__(
        self,
        hostnames: Hostnames,
        store: HostnamesStore,
        owners: Owners,
        changes: Changes,
        default_namespace: str,
    ) -> None:
        self._hostnames = hostnames
        self._store = store
        self._owners = owners
        self._changes = changes
        self._default_namespace = default_namespace
        self._slugs: LRUCache[str, str] = LRUCache(_CACHED)
        self._namespaces: set[str] = set()
        self._spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)
        self._new_owners: dict[str, str] = {}
        self._line = 0
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._spool.close()

    @property
    def count(self) -> int:
        """Routes that were added."""
        return self._count

    async def add(self, line: bytes) -> None:
        """Check the next line. Raises BulkError, naming it."""
        self._line += 1
        if not line.strip():
            return
        try:
            if len(line) > MAX_LINE:
                raise BulkError(f"longer than {MAX_LINE} bytes")
            await self._add(_line.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError, ControlError) as error:
            fix = error.fix if isinstance(error, ControlError) else ""
            raise BulkError(
                f"line {self._line}: {error}",
                fix=fix or 'send {"hostname": "…", "script": "…"} on each line',
            ) from None

    async def commit(self) -> BulkStored:
        """Store every line added: all or none."""
        created = await self._create_owners()
        try:
            await self._store.put_many(self._rows())
        finally:
            self._changes.everything_changed()
        return BulkStored(self._count, created)

    async def _add(self, row: RouteLine) -> None:
        hostname = self._hostnames.checked(row.hostname)
        namespace = row.namespace or self._default_namespace
        if namespace not in self._namespaces:
            await self._hostnames.check_namespace(namespace)
            self._namespaces.add(namespace)
        slug = self._slugs.get(row.script)
        if slug is None:
            slug = self._slugs[row.script] = await self._owner(row.script)
        record = msgspec.json.encode(HostnameRecord(row.script, namespace, slug))
        self._spool.write(b"%s\t%s\n" % (hostname.encode(), record))
        self._count += 1

    async def _owner(self, script: str) -> str:
        """Slug of the script's owner, noted when it has still to be created."""
        owner = await owner_within(self._owners, script, None)
        if await self._owners.owner_of(script) is None:
            self._new_owners[owner.slug] = script
        return owner.slug

    async def _create_owners(self) -> int:
        for script in self._new_owners.values():
            async with self._owners.claim(script):
                pass
        return len(self._new_owners)

    def _rows(self) -> Iterator[tuple[str, bytes]]:
        self._spool.seek(0)
        for line in self._spool:
            hostname, record = line[:-1].split(b"\t", 1)
            yield PREFIX + hostname.decode(), record
