"""Which version answers on ``{prefix}-{script}``, a label that names no script.

``prefix`` is the first eight digits of the version's id, or the alias its uploader gave it. A label
may be cut in several places: the longest script name that has such a version wins. A label that
belongs to another tenant by its name (``acme-…`` is ``acme``'s, and only if there is no tenant
``acme-shop``) is nobody's preview: no tenant can answer where visitors expect another.
"""

from __future__ import annotations

from typing import Protocol

from gateway.model.naming import owner_slugs
from gateway.model.script import Script, ScriptKey, Version
from gateway.store.base import AccountStore, TriggerStore


class PreviewStore(AccountStore, TriggerStore, Protocol):
    """What finding a preview needs of the store."""


class Previews:
    """Finds the version of a label."""

    def __init__(self, store: PreviewStore) -> None:
        self._store = store

    async def find(self, label: ScriptKey) -> tuple[Script, Version] | None:
        """The script and version that answer on ``label``, which is no script's name."""
        prefixes = _cuts(label.name)
        if not prefixes:
            return None
        for script in await self._store.find_scripts(label.namespace, list(prefixes)):
            if not script.previews:
                continue
            version = await self._store.find_preview(script.key, prefixes[script.key.name])
            if version is not None and version.tenant == script.tenant:
                foreign = await self._is_foreign(label.name, script.tenant)
                return None if foreign else (script, version)
        return None

    async def _is_foreign(self, label: str, tenant: str) -> bool:
        """Whether the name belongs to another tenant."""
        for slug in owner_slugs(label):
            if await self._store.get_tenant(slug) is not None:
                return slug != tenant
        return False


def _cuts(label: str) -> dict[str, str]:
    """What may be a script's name, and what stands before it."""
    return {
        label[at + 1 :]: label[:at] for at, character in enumerate(label) if character == "-" and at
    }
