"""Reading and removing scripts, each within what the caller may see."""

from __future__ import annotations

import msgspec

from gateway.catalog.locks import KeyedLocks
from gateway.catalog.serving import missing
from gateway.model.script import Script, ScriptKey, Version
from gateway.observer import Changes
from gateway.store.base import CatalogStore


class Scripts:
    """Scripts as their owners see them. ``scope``: the only tenant to see, None for all.

    Another tenant's script is answered like one that does not exist.
    """

    def __init__(self, store: CatalogStore, changes: Changes, locks: KeyedLocks) -> None:
        self._store = store
        self._changes = changes
        self._locks = locks

    async def get(self, key: ScriptKey, *, scope: str | None) -> Script:
        """A script. Raises ScriptMissing."""
        script = await self._store.get_script(key)
        if script is None or scope not in (None, script.tenant):
            raise missing(key)
        return script

    async def version(self, key: ScriptKey, *, scope: str | None) -> Version:
        """The serving version of a script, with its code and the script's tags."""
        script = await self.get(key, scope=scope)
        version = await self._store.get_version(script.version_id)
        if version is None:
            raise missing(key)
        return msgspec.structs.replace(version, tags=script.tags)

    async def delete(self, key: ScriptKey, *, scope: str | None) -> None:
        """Remove a script and its versions. Raises ScriptMissing."""
        async with self._locks.hold(key):
            await self.get(key, scope=scope)
            try:
                existed = await self._store.delete_script(key)
            finally:
                self._changes.script_removed(key)
        if not existed:
            raise missing(key)

    async def list(
        self,
        namespace: str,
        *,
        scope: str | None,
        after: str = "",
        limit: int = 100,
    ) -> list[Script]:
        """Scripts of a namespace in order of name."""
        return await self._store.list_scripts(namespace, tenant=scope, after=after, limit=limit)
