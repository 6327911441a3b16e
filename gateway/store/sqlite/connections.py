"""The connections to one SQLite file: one that writes, a few that only read.

Write-ahead logging lets readers go on while a transaction is open. Commits are synced to disk
(``synchronous=FULL``): what was answered survives a power cut, at one fsync a commit, which the
control plane can afford.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

import aiosqlite

from gateway.errors import StoreTrouble

logger = logging.getLogger(__name__)

Row = tuple[Any, ...]

READERS: Final = 2
BUSY_MS: Final = 5000
"""How long to wait for another process's lock on the file."""
WRITER_CACHE_KIB: Final = 8192
READER_CACHE_KIB: Final = 4096
"""Page caches. What does not fit is read from the file; memory stays bounded at any size of it."""
JOURNAL_BYTES: Final = 64 << 20
"""The log is cut back to this size after a large transaction."""
# What the machine does to a store, and no statement of ours.
_TROUBLE: Final = {
    sqlite3.SQLITE_BUSY: ("another program holds it", "end that program, a backup for one"),
    sqlite3.SQLITE_FULL: ("the disk is full", "make room in the node's data directory"),
    sqlite3.SQLITE_IOERR: ("the disk cannot be read or written", "look into the node's log"),
    sqlite3.SQLITE_CANTOPEN: ("its files cannot be opened", "look into the node's log"),
}
_PRIMARY: Final = 0xFF
"""The bits of SQLite's error code that do not say in which of its functions it happened."""


class Connections:
    """One writer, taken by one transaction at a time, and readers taken in turn."""

    def __init__(self, path: Path, *, readers: int = READERS) -> None:
        self._path = path
        self._reader_count = readers
        self._writer: aiosqlite.Connection | None = None
        self._readers: list[aiosqlite.Connection] = []
        self._turn = count()
        self._writing = asyncio.Lock()

    @property
    def writer(self) -> aiosqlite.Connection:
        """The writing connection; only for migrations, everything else uses ``transaction``."""
        if self._writer is None:
            raise RuntimeError(f"store {self._path} is not open: await open() first")
        return self._writer

    async def open_writer(self) -> None:
        """Create the file, readable by its owner only, and connect to it for writing."""
        _create_private(self._path)
        self._writer = await self._connect(WRITER_CACHE_KIB)
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"journal_size_limit={JOURNAL_BYTES}",
        ):
            await self._writer.execute_fetchall(f"PRAGMA {pragma}")

    async def open_readers(self) -> None:
        """Connect for reading, once the schema is there."""
        for _ in range(self._reader_count):
            reader = await self._connect(READER_CACHE_KIB)
            self._readers.append(reader)
            await reader.execute_fetchall("PRAGMA query_only=ON")

    async def close(self) -> None:
        """Disconnect; the last one out folds the log into the database."""
        for connection in (*self._readers, self._writer):
            if connection is not None:
                await connection.close()
        self._readers = []
        self._writer = None

    async def read(self, sql: str, parameters: Iterable[Any] = ()) -> list[Row]:
        """All rows of a query, in one hop to a reader's thread."""
        if not self._readers:
            raise RuntimeError(f"store {self._path} is not open: await open() first")
        reader = self._readers[next(self._turn) % len(self._readers)]
        with _troubles():
            return list(await reader.execute_fetchall(sql, parameters))  # type: ignore[arg-type]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[aiosqlite.Connection]:
        """Hold the writer for one transaction: commits at the end, rolls back on any exception.

        Cancelled while committing, the transaction may have been committed. Raises StoreTrouble
        when the machine does not let it through.
        """
        async with self._writing:
            try:
                with _troubles():
                    await self.writer.execute("BEGIN IMMEDIATE")
                    yield self.writer
                    await self.writer.execute("COMMIT")
            except BaseException:
                # The thread works its queue off in order, so whatever a cancelled await left there
                # is done before this rollback, and the rollback before the next BEGIN.
                await asyncio.shield(asyncio.ensure_future(self._rollback()))
                raise

    async def _rollback(self) -> None:
        with suppress(sqlite3.OperationalError):  # nothing to roll back
            await self.writer.execute("ROLLBACK")

    async def _connect(self, cache_kib: int) -> aiosqlite.Connection:
        connection = await aiosqlite.connect(self._path, isolation_level=None)
        await connection.execute_fetchall(f"PRAGMA busy_timeout={BUSY_MS}")
        await connection.execute_fetchall(f"PRAGMA cache_size=-{cache_kib}")
        return connection


@contextmanager
def _troubles() -> Iterator[None]:
    """Say what the machine has done to the store. Raises StoreTrouble."""
    try:
        yield
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        trouble = _TROUBLE.get(code & _PRIMARY)
        if trouble is None:
            raise
        logger.error("the store failed", extra={"error": str(error)})
        why, fix = trouble
        raise StoreTrouble(f"the node's store cannot be used now: {why}", fix=fix) from error


def _create_private(path: Path) -> None:
    """Make the file with mode 0600, which its log inherits, in a directory of mode 0700."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)
