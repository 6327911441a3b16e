"""What calls a script beside its own hostname: previews of its versions, and schedules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gateway.model.script import Cron, Script, ScriptKey, Version
from gateway.store.sqlite.catalog import COLUMNS, noting_script, script_row, to_script
from gateway.store.sqlite.connections import Connections

BY_ALIAS: Final = (
    "SELECT document, number FROM versions WHERE namespace = ? AND name = ?"
    " AND json_extract(CAST(document AS TEXT), '$.alias') = ? ORDER BY number DESC LIMIT 1"
)
_ID_PREFIX: Final = re.compile(r"[0-9a-f]{8}")
_json = msgspec.json.encode
_version = msgspec.json.Decoder(Version)
_crons = msgspec.json.Decoder(tuple[Cron, ...])


class SqliteTriggers:
    """Previews and schedules of scripts."""

    _db: Connections

    async def find_scripts(self, namespace: str, names: Sequence[str]) -> list[Script]:
        """Those of the named scripts that exist, the longest name first."""
        marks = ", ".join("?" * len(names))
        rows = await self._db.read(
            f"SELECT {COLUMNS} FROM scripts WHERE namespace = ? AND name IN ({marks})"  # noqa: S608
            " ORDER BY length(name) DESC",
            (namespace, *names),
        )
        return [to_script(row) for row in rows]

    async def find_preview(self, key: ScriptKey, prefix: str) -> Version | None:
        """The kept version whose id begins with ``prefix``, or the newest one of that alias.

        Without its code and secrets. None when there is none, or when several begin like that.
        """
        if _ID_PREFIX.fullmatch(prefix):
            rows = await self._db.read(
                "SELECT document, number FROM versions WHERE namespace = ? AND name = ?"
                " AND substr(id, 1, 8) = ? LIMIT 2",
                (*key, prefix),
            )
            if rows:
                return _to_version(rows[0]) if len(rows) == 1 else None
        rows = await self._db.read(BY_ALIAS, (*key, prefix)) if prefix else []
        return _to_version(rows[0]) if rows else None

    async def put_previews(self, key: ScriptKey, enabled: bool) -> Script | None:
        """Switch the previews of a script; None when it is absent."""
        return await self._set(key, "previews", int(enabled))

    async def put_crons(self, key: ScriptKey, crons: tuple[Cron, ...]) -> Script | None:
        """Replace a script's schedules; None when it is absent."""
        return await self._set(key, "crons", _json(crons).decode())

    async def _set(self, key: ScriptKey, column: str, value: Any) -> Script | None:
        async with self._db.transaction() as connection, noting_script(connection, key) as change:
            await connection.execute(
                f"UPDATE scripts SET {column} = ? WHERE namespace = ? AND name = ?",  # noqa: S608
                (value, *key),
            )
            script = await script_row(connection, key)
            change.made = script is not None
            return script

    async def list_scheduled(self) -> list[tuple[ScriptKey, tuple[str, ...]]]:
        """Scripts that have schedules, with their expressions."""
        rows = await self._db.read("SELECT namespace, name, crons FROM scripts WHERE crons <> '[]'")
        return [
            (ScriptKey(namespace, name), tuple(item.cron for item in _crons.decode(crons)))
            for namespace, name, crons in rows
        ]

    async def count_crons(self, tenant: str) -> int:
        """How many schedules the scripts of a tenant have."""
        rows = await self._db.read(
            "SELECT coalesce(sum(json_array_length(crons)), 0) FROM scripts"
            " WHERE crons <> '[]' AND tenant = ?",
            (tenant,),
        )
        return int(rows[0][0])

    async def claim_minute(self, minute: int) -> bool:
        """Take the schedules of a minute of Unix time upon oneself; False when that was done."""
        async with self._db.transaction() as connection:
            cursor = await connection.execute(
                # One from far in the future comes of a clock that has been set right since.
                "UPDATE schedule_minute SET minute = :now"
                " WHERE minute < :now OR minute > :now + 60",
                {"now": minute},
            )
            return cursor.rowcount > 0


def _to_version(row: tuple[Any, ...]) -> Version:
    document, number = row
    return msgspec.structs.replace(_version.decode(document), number=number)
