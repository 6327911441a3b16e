"""Who may do what: tenants, bearer tokens, and the names that belong to a tenant."""

from __future__ import annotations

from gateway.accounts.tenants import Tenants
from gateway.accounts.tokens import (
    Grant,
    Issued,
    Principal,
    Scope,
    Tokens,
    ensure_operator_token,
)

__all__ = ["Grant", "Issued", "Principal", "Scope", "Tenants", "Tokens", "ensure_operator_token"]
