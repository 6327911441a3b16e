"""Tenants and tokens in SQLite."""

from __future__ import annotations

import hmac
from typing import Final

import aiosqlite
import msgspec

from gateway.model.audit import Kind, State, tenant_state
from gateway.model.script import Tenant, TenantStatus
from gateway.store.base import StoredToken, token_state
from gateway.store.sqlite.audit import Read, noting
from gateway.store.sqlite.connections import Connections, Row
from gateway.store.sqlite.kv import HOSTNAMES, TENANT_OF_VALUE
from gateway.store.sqlite.tokens import keyed

_TENANTS: Final = (
    "SELECT t.slug, COALESCE(CAST(kv.value AS TEXT), ''), t.status, t.created_ms, t.name"
    " FROM tenants t LEFT JOIN kv ON kv.key = 'plan:' || t.slug"
)
_COLUMNS: Final = "id, hash, tenant, created_ms, label, scope, script, expires_ms, used_ms"
_TOKENS: Final = f"SELECT {_COLUMNS} FROM tokens"  # noqa: S608


class SqliteAccounts:
    """Tenants and tokens."""

    _db: Connections
    _token_key: bytes

    async def put_tenant(self, tenant: Tenant) -> None:
        """Create or change a tenant, its plan in the routing KV, in one transaction."""
        async with (
            self._db.transaction() as connection,
            noting(connection, Kind.TENANT, tenant.slug, _tenant_by(tenant.slug)),
        ):
            await connection.execute(
                "INSERT INTO tenants (slug, status, name, created_ms) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (slug) DO UPDATE SET status = excluded.status, name = excluded.name",
                (tenant.slug, tenant.status.value, tenant.name, tenant.created_ms),
            )
            await connection.execute(
                "INSERT INTO kv (key, value) VALUES (?, ?)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (f"plan:{tenant.slug}", tenant.plan.encode()),
            )

    async def get_tenant(self, slug: str) -> Tenant | None:
        """A tenant by slug."""
        rows = await self._db.read(f"{_TENANTS} WHERE t.slug = ?", (slug,))
        return _tenant(rows[0]) if rows else None

    async def list_tenants(self, *, after: str = "", limit: int = 100) -> list[Tenant]:
        """Tenants in order of slug."""
        rows = await self._db.read(
            f"{_TENANTS} WHERE t.slug > ? ORDER BY t.slug LIMIT ?", (after, limit)
        )
        return [_tenant(row) for row in rows]

    async def delete_tenant(self, slug: str) -> bool:
        """Remove a tenant with its plan, tokens, scripts and hostnames; False when absent."""
        async with (
            self._db.transaction() as connection,
            noting(connection, Kind.TENANT, slug, _tenant_by(slug)) as change,
        ):
            cursor = await connection.execute("DELETE FROM tenants WHERE slug = ?", (slug,))
            if cursor.rowcount == 0:
                change.made = False
                return False
            await connection.execute("DELETE FROM kv WHERE key = ?", (f"plan:{slug}",))
            hostnames = await connection.execute(
                f"DELETE FROM kv WHERE {TENANT_OF_VALUE} = ? AND {HOSTNAMES}",  # noqa: S608
                (slug,),
            )
            await connection.execute(
                "DELETE FROM kv WHERE key > ? AND key < ?", (f"claim:{slug}:", f"claim:{slug};")
            )
            tokens = await connection.execute("DELETE FROM tokens WHERE tenant = ?", (slug,))
            await connection.execute(
                "DELETE FROM versions WHERE (namespace, name) IN"
                " (SELECT namespace, name FROM scripts WHERE tenant = ?)",
                (slug,),
            )
            scripts = await connection.execute("DELETE FROM scripts WHERE tenant = ?", (slug,))
            change.detail = {
                "scripts": scripts.rowcount,
                "hostnames": hostnames.rowcount,
                "tokens": tokens.rowcount,
            }
            return True

    async def put_token(self, token: StoredToken) -> None:
        """Store a token's hash."""
        name = "/".join(filter(None, (token.tenant, token.id)))
        async with (
            self._db.transaction() as connection,
            noting(connection, Kind.TOKEN, name, _token_by(token.id)),
        ):
            await connection.execute(
                f"INSERT INTO tokens ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                msgspec.structs.astuple(
                    msgspec.structs.replace(token, hash=keyed(self._token_key, token.hash))
                ),
            )

    async def find_token(self, token_hash: str) -> StoredToken | None:
        """A token by its hash."""
        wanted = keyed(self._token_key, token_hash)
        rows = await self._db.read(f"{_TOKENS} WHERE hash = ?", (wanted,))
        found = StoredToken(*rows[0]) if rows else None
        same = found is not None and hmac.compare_digest(found.hash, wanted)
        return found if same else None

    async def list_tokens(self, tenant: str | None) -> list[StoredToken]:
        """Tokens of a tenant, or the operator's, oldest first."""
        rows = await self._db.read(
            f"{_TOKENS} WHERE tenant IS ? ORDER BY created_ms, id",
            (tenant,),
        )
        return [StoredToken(*row) for row in rows]

    async def replace_token(self, token_id: str, token_hash: str) -> bool:
        """Give a token another secret; False when absent."""
        async with (
            self._db.transaction() as connection,
            noting(connection, Kind.TOKEN, token_id, _token_by(token_id)) as change,
        ):
            cursor = await connection.execute(
                "UPDATE tokens SET hash = ?, used_ms = NULL WHERE id = ?",
                (keyed(self._token_key, token_hash), token_id),
            )
            change.made = cursor.rowcount > 0
            return change.made

    async def touch_token(self, token_id: str, used_ms: int) -> None:
        """Note when a token was used."""
        async with self._db.transaction() as connection:
            await connection.execute(
                "UPDATE tokens SET used_ms = ? WHERE id = ?", (used_ms, token_id)
            )

    async def delete_token(self, token_id: str) -> bool:
        """Revoke a token; False when absent."""
        async with (
            self._db.transaction() as connection,
            noting(connection, Kind.TOKEN, token_id, _token_by(token_id)) as change,
        ):
            cursor = await connection.execute("DELETE FROM tokens WHERE id = ?", (token_id,))
            change.made = cursor.rowcount > 0
            return change.made


def _tenant_by(slug: str) -> Read:
    async def read(connection: aiosqlite.Connection) -> State:
        rows = await connection.execute_fetchall(f"{_TENANTS} WHERE t.slug = ?", (slug,))
        return next((tenant_state(_tenant(tuple(row))) for row in rows), None)

    return read


def _token_by(token_id: str) -> Read:
    async def read(connection: aiosqlite.Connection) -> State:
        rows = await connection.execute_fetchall(f"{_TOKENS} WHERE id = ?", (token_id,))
        return next((token_state(StoredToken(*row)) for row in rows), None)

    return read


def _tenant(row: Row) -> Tenant:
    slug, plan, status, created_ms, name = row
    return Tenant(slug, plan, TenantStatus(status), created_ms, name)
