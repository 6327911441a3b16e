"""Whose a script's name is: what the catalogue asks of the accounts."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gateway.catalog.errors import BadName, NameForeign
from gateway.model.naming import MAX_SCRIPT_NAME, is_label
from gateway.model.script import Tenant


class Owners(Protocol):
    """Knows the owner of every script name."""

    async def owner_of(self, script: str) -> Tenant | None:
        """The owner of a script name; None when no tenant's slug matches."""

    async def owner_or_new(self, script: str) -> Tenant:
        """The owner of a script name, or the tenant that using the name would create."""

    def claim(self, script: str) -> AbstractAsyncContextManager[Tenant]:
        """Hold a script name for its owner, storing the owner when it is new."""


def check_script_name(name: str) -> None:
    """Raise BadName, saying the rule, unless ``name`` may name a script."""
    if not is_label(name):
        raise BadName(
            f"{name[:80]!r} cannot name a script: use lower-case letters, digits and single hyphens"
            f" between them, at most {MAX_SCRIPT_NAME} characters",
            fix="choose a name such as acme or acme-shop",
        )


async def owner_within(owners: Owners, name: str, scope: str | None) -> Tenant:
    """The owner of a script name; NameForeign unless it is ``scope``. Scope None: any tenant."""
    check_script_name(name)
    owner = await owners.owner_or_new(name)
    if scope is not None and owner.slug != scope:
        raise NameForeign(
            f"script {name!r} does not belong to tenant {scope!r}",
            fix=f"name it {scope} or {scope}-something",
        )
    return owner
