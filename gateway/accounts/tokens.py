"""Bearer tokens: 256 random bits, of which only a keyed hash is stored."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final

from cachetools import LRUCache

from gateway.accounts.errors import LastToken, TokenMissing
from gateway.errors import ControlError
from gateway.model.naming import is_label, owner_slugs
from gateway.store.base import AccountStore, StoredToken

logger = logging.getLogger(__name__)

PREFIX: Final = "wp_"
MAX_TOKEN: Final = 512
"""Longest bearer token looked at, characters."""
MAX_LABEL: Final = 100
NOTE_MS: Final = 60_000
"""How often the use of a token is written down."""
_NOTED: Final = 10_000
WEAK: Final = 24
"""A preset operator token shorter than this is warned about."""


class Scope(StrEnum):
    """What a token may do."""

    ADMIN = "admin"
    """Everything of its tenant, its tokens and audit log too; the operator's: everything."""
    DEPLOY = "deploy"
    """Change and see scripts, secrets, routes; tail."""
    READ = "read"
    """See, but neither change nor tail."""
    TAIL = "tail"
    """Tail only."""


_ALLOWS: Final = {
    Scope.ADMIN: frozenset(Scope),
    Scope.DEPLOY: frozenset({Scope.DEPLOY, Scope.READ, Scope.TAIL}),
    Scope.READ: frozenset({Scope.READ}),
    Scope.TAIL: frozenset({Scope.TAIL}),
}


class PrincipalKind(StrEnum):
    """On whose behalf a request is made."""

    OPERATOR = "operator"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who made an authenticated request."""

    kind: PrincipalKind
    tenant: str | None
    """Slug; None for the operator."""
    token_id: str
    label: str = ""
    scope: Scope = Scope.ADMIN
    script: str | None = None
    """The only script the token is for."""
    expires_ms: int | None = None

    @property
    def is_operator(self) -> bool:
        """Whether this is the operator."""
        return self.kind is PrincipalKind.OPERATOR

    def may(self, need: Scope) -> bool:
        """Whether the token's scope includes ``need``."""
        return need in _ALLOWS[self.scope]


@dataclass(frozen=True, slots=True)
class Grant:
    """What a new token is to be good for."""

    label: str = ""
    scope: Scope | None = None
    """None: ``deploy`` for a tenant, ``admin`` for the operator."""
    script: str | None = None
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token, the only time its secret is known."""

    id: str
    token: str
    stored: StoredToken

    @property
    def label(self) -> str:
        """What it is for."""
        return self.stored.label


class Tokens:
    """Issues, checks and revokes bearer tokens."""

    def __init__(
        self, store: AccountStore, revoked: Callable[[str], None] = lambda token_id: None
    ) -> None:
        """``revoked`` is told the id of a token whose secret is worth nothing any more."""
        self._store = store
        self._revoked = revoked
        self._changing = asyncio.Lock()
        self._noted: LRUCache[str, int] = LRUCache(_NOTED)

    async def authenticate(self, bearer: str) -> Principal | None:
        """Who holds this token; None when nobody does, or not any more."""
        if not bearer or len(bearer) > MAX_TOKEN:
            return None
        stored = await self._store.find_token(digest_of(bearer))
        if stored is None:
            return None
        now_ms = time.time_ns() // 1_000_000
        if stored.expires_ms is not None and stored.expires_ms <= now_ms:
            return None
        await self._note_use(stored, now_ms)
        kind = PrincipalKind.OPERATOR if stored.tenant is None else PrincipalKind.TENANT
        return Principal(
            kind,
            stored.tenant,
            stored.id,
            label=stored.label,
            scope=Scope(stored.scope),
            script=stored.script,
            expires_ms=stored.expires_ms,
        )

    async def issue(self, tenant: str | None, grant: Grant | str = "") -> Issued:
        """Create a token of a tenant, or the operator's when ``tenant`` is None."""
        if isinstance(grant, str):
            grant = Grant(grant)
        if len(grant.label) > MAX_LABEL:
            raise ControlError(f"a token's label has at most {MAX_LABEL} characters")
        if grant.script is not None:
            _check_script(tenant, grant)
        if grant.expires_ms is not None and grant.expires_ms <= time.time_ns() // 1_000_000:
            raise ControlError("a token cannot expire in the past", fix="give a later expires_on")
        return await _issue(self._store, tenant, grant, _new_token())

    async def list(self, tenant: str | None) -> list[StoredToken]:
        """Tokens of a tenant, or the operator's."""
        return await self._store.list_tokens(tenant)

    async def get(self, tenant: str | None, token_id: str) -> StoredToken:
        """One token of a tenant. Raises TokenMissing when it has no such token."""
        for token in await self._store.list_tokens(tenant):
            if token.id == token_id:
                return token
        raise TokenMissing(
            f"there is no token {token_id[:80]!r}", fix="list the tokens and their ids"
        )

    async def is_good(self, token: StoredToken) -> bool:
        """Whether a token is still what it was: neither revoked nor rotated nor expired."""
        kept = await self._store.list_tokens(token.tenant)
        stored = next((item for item in kept if item.id == token.id), None)
        if stored is None or stored.hash != token.hash:
            return False
        return stored.expires_ms is None or stored.expires_ms > time.time_ns() // 1_000_000

    async def rotate(self, tenant: str | None, token_id: str) -> Issued:
        """Give a token another secret; the one it had is worth nothing from now on."""
        stored = await self.get(tenant, token_id)
        token = _new_token()
        try:
            replaced = await self._store.replace_token(token_id, digest_of(token))
        finally:
            # also when cancelled: the transaction may have been committed
            self._revoked(token_id)
        if not replaced:
            raise TokenMissing(f"there is no token {token_id[:80]!r} any more")
        return Issued(token_id, token, stored)

    async def revoke(self, tenant: str | None, token_id: str) -> None:
        """Revoke one token of a tenant. Raises TokenMissing, or LastToken for the last key."""
        async with self._changing:
            stored = await self.get(tenant, token_id)
            others = [t for t in await self._store.list_tokens(None) if t.id != token_id]
            if tenant is None and _is_key(stored) and not any(map(_is_key, others)):
                raise LastToken(
                    "this is the operator's last token that may do everything and does not expire",
                    fix="create another one first",
                )
            try:
                await self._store.delete_token(token_id)
            finally:
                self._revoked(token_id)

    async def _note_use(self, stored: StoredToken, now_ms: int) -> None:
        """Write down that a token is in use, at most once a minute; it is no reason to fail."""
        noted = self._noted.get(stored.id, stored.used_ms or 0)
        if now_ms - noted < NOTE_MS:
            return
        self._noted[stored.id] = now_ms
        try:
            await self._store.touch_token(stored.id, now_ms)
        except Exception:
            logger.exception("the use of a token could not be noted", extra={"token": stored.id})


def _is_key(token: StoredToken) -> bool:
    return token.scope == Scope.ADMIN and token.expires_ms is None


def _check_script(tenant: str | None, grant: Grant) -> None:
    """A token for one script: which must be the tenant's, and cannot be an admin's."""
    if grant.scope is Scope.ADMIN:
        raise ControlError("a token for one script cannot have scope admin", fix="use deploy")
    name = grant.script or ""
    if not is_label(name) or (tenant is not None and tenant not in owner_slugs(name)):
        raise ControlError(
            f"{name[:80]!r} is not the name of a script of this tenant",
            fix=f"name it {tenant} or {tenant}-something" if tenant else "name a script",
        )


async def ensure_operator_token(store: AccountStore, preset: str | None) -> str | None:
    """Create the operator's token on the first start; return it only when it was created now.

    ``preset`` is its text when the operator chose one. Later starts keep what is stored: a preset
    that differs is warned about and ignored.
    """
    chosen = (preset or "").strip()
    existing = await store.list_tokens(None)
    if existing:
        if chosen and await store.find_token(digest_of(chosen)) is None:
            logger.warning(
                "the preset operator token is not the stored one and is ignored: it counts on the"
                " first start only"
            )
        return None
    if chosen and len(chosen) < WEAK:
        logger.warning(
            "the preset operator token is short and may be guessed", extra={"length": len(chosen)}
        )
    return (await _issue(store, None, Grant("operator"), chosen or _new_token())).token


async def _issue(store: AccountStore, tenant: str | None, grant: Grant, token: str) -> Issued:
    stored = StoredToken(
        id=uuid.uuid4().hex,
        hash=digest_of(token),
        tenant=tenant,
        created_ms=time.time_ns() // 1_000_000,
        label=grant.label,
        scope=grant.scope or (Scope.ADMIN if tenant is None else Scope.DEPLOY),
        script=grant.script,
        expires_ms=grant.expires_ms,
    )
    await store.put_token(stored)
    return Issued(stored.id, token, stored)


def _new_token() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """What the store is told of a token."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
