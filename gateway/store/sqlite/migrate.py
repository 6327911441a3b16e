"""Numbered migrations: ``NNNN_name.sql`` files, each applied once, in order, in a transaction."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from typing import NamedTuple

import aiosqlite

from gateway.errors import WaypostError

logger = logging.getLogger(__name__)


class SchemaError(WaypostError):
    """The database has a schema that this program does not know."""


class Migration(NamedTuple):
    """One step of the schema."""

    number: int
    name: str
    sql: str


def shipped() -> list[Migration]:
    """The migrations of this program, in order."""
    folder = resources.files("gateway.store") / "migrations"
    found = [
        Migration(int(entry.name[:4]), entry.name, entry.read_text("utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    ]
    return sorted(found)


async def migrate(connection: aiosqlite.Connection, migrations: Sequence[Migration]) -> None:
    """Bring the database to the newest schema. Raises SchemaError when it is newer still."""
    ((current,),) = await connection.execute_fetchall("PRAGMA user_version")
    newest = migrations[-1].number
    if current > newest:
        raise SchemaError(
            f"the database has schema {current}, this Waypost knows schemas up to {newest}: "
            "start the newer Waypost that wrote it, or restore a backup made before the upgrade"
        )
    for migration in migrations:
        if migration.number > current:
            await _apply(connection, migration)


async def _apply(connection: aiosqlite.Connection, migration: Migration) -> None:
    script = f"BEGIN IMMEDIATE;\n{migration.sql}\nPRAGMA user_version={migration.number};\nCOMMIT;"
    try:
        await connection.executescript(script)
    except sqlite3.Error as error:
        with suppress(sqlite3.OperationalError):
            await connection.execute("ROLLBACK")
        raise SchemaError(f"migration {migration.name} failed: {error}") from error
    logger.info("migrated the store", extra={"migration": migration.name})
