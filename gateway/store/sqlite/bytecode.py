"""What was compiled of versions, in SQLite."""

from __future__ import annotations

import asyncio
import zlib
from typing import Final

import msgspec

from gateway.model.script import Bytecode
from gateway.store.sqlite.connections import Connections

_COMPRESSION: Final = 1
_sizes = msgspec.json.Decoder(tuple[int, ...])


class SqliteBytecode:
    """Bytecode of versions, which goes with them."""

    _db: Connections

    async def put_bytecode(self, version_id: str, bytecode: Bytecode) -> None:
        """Keep what a version was compiled to, instead of what there was; nothing without it."""
        content = await asyncio.to_thread(zlib.compress, bytecode.content, _COMPRESSION)
        async with self._db.transaction() as connection:
            await connection.execute(
                "INSERT OR REPLACE INTO bytecode (version_id, interpreter, sizes, content)"
                " SELECT id, ?, ?, ? FROM versions WHERE id = ?",
                (bytecode.interpreter, msgspec.json.encode(bytecode.sizes), content, version_id),
            )

    async def get_bytecode(self, version_id: str, interpreter: str) -> Bytecode | None:
        """What a version was compiled to by an interpreter; None when it was not."""
        rows = await self._db.read(
            "SELECT sizes, content FROM bytecode WHERE version_id = ? AND interpreter = ?",
            (version_id, interpreter),
        )
        if not rows:
            return None
        ((sizes, compressed),) = rows
        content = await asyncio.to_thread(zlib.decompress, compressed)
        return Bytecode(interpreter, _sizes.decode(sizes), content)
