"""Who may do what: tenants, bearer tokens, and the names that belong to a tenant."""

from __future__ import annotations

from gateway.accounts.tenants import Tenants
from gateway.accounts.tokens import Issued, Principal, Tokens, ensure_operator_token

__all__ = ["Issued", "Principal", "Tenants", "Tokens", "ensure_operator_token"]
