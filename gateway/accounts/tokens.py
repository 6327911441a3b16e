"""Bearer tokens: 256 random bits, of which only the SHA-256 is stored."""

from __future__ import annotations

import hmac
import logging
import secrets
import time
import uuid
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final

from gateway.accounts.errors import TokenMissing
from gateway.errors import ControlError
from gateway.store.base import AccountStore, StoredToken

logger = logging.getLogger(__name__)

PREFIX: Final = "wp_"
MAX_TOKEN: Final = 512
"""Longest bearer token looked at, characters."""
MAX_LABEL: Final = 100
WEAK: Final = 24
"""A preset operator token shorter than this is warned about."""


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

    @property
    def is_operator(self) -> bool:
        """Whether this is the operator."""
        return self.kind is PrincipalKind.OPERATOR


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token, the only time its secret is known."""

    id: str
    token: str
    label: str


class Tokens:
    """Issues, checks and revokes bearer tokens."""

    def __init__(self, store: AccountStore) -> None:
        self._store = store

    async def authenticate(self, bearer: str) -> Principal | None:
        """Who holds this token; None when nobody does."""
        if not bearer or len(bearer) > MAX_TOKEN:
            return None
        digest = _digest(bearer)
        stored = await self._store.find_token(digest)
        if stored is None or not hmac.compare_digest(stored.hash, digest):
            return None
        kind = PrincipalKind.OPERATOR if stored.tenant is None else PrincipalKind.TENANT
        return Principal(kind, stored.tenant, stored.id)

    async def issue(self, tenant: str | None, label: str = "") -> Issued:
        """Create a token of a tenant, or the operator's when ``tenant`` is None."""
        if len(label) > MAX_LABEL:
            raise ControlError(f"a token's label has at most {MAX_LABEL} characters")
        return await _issue(self._store, tenant, label, _new_token())

    async def list(self, tenant: str | None) -> list[StoredToken]:
        """Tokens of a tenant, or the operator's."""
        return await self._store.list_tokens(tenant)

    async def revoke(self, tenant: str | None, token_id: str) -> None:
        """Revoke one token of a tenant. Raises TokenMissing when it has no such token."""
        owned = {token.id for token in await self._store.list_tokens(tenant)}
        if token_id not in owned or not await self._store.delete_token(token_id):
            raise TokenMissing(
                f"there is no token {token_id!r}", fix="list the tokens and their ids"
            )


async def ensure_operator_token(store: AccountStore, preset: str | None) -> str | None:
    """Create the operator's token on the first start; return it only when it was created now.

    ``preset`` is its text when the operator chose one. Later starts keep what is stored: a preset
    that differs is warned about and ignored.
    """
    chosen = (preset or "").strip()
    existing = await store.list_tokens(None)
    if existing:
        if chosen and _digest(chosen) not in {token.hash for token in existing}:
            logger.warning(
                "the preset operator token is not the stored one and is ignored: it counts on the"
                " first start only"
            )
        return None
    if chosen and len(chosen) < WEAK:
        logger.warning(
            "the preset operator token is short and may be guessed", extra={"length": len(chosen)}
        )
    return (await _issue(store, None, "operator", chosen or _new_token())).token


async def _issue(store: AccountStore, tenant: str | None, label: str, token: str) -> Issued:
    token_id = uuid.uuid4().hex
    now_ms = time.time_ns() // 1_000_000
    await store.put_token(StoredToken(token_id, _digest(token), tenant, now_ms, label))
    return Issued(token_id, token, label)


def _new_token() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def _digest(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
