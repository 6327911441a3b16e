"""Hostnames on which single versions answer, and whether a script has them."""

from __future__ import annotations

import re
from typing import Final, Protocol

from gateway.catalog.errors import BadUpload
from gateway.catalog.locks import KeyedLocks
from gateway.catalog.serving import missing
from gateway.config import Config
from gateway.model.naming import MAX_SCRIPT_NAME, is_label
from gateway.model.script import Script, ScriptKey, Version
from gateway.observer import Changes
from gateway.store.base import CatalogStore, TriggerStore

ID_DIGITS: Final = 8
"""Of a version's id, which its hostname begins with."""
_ALIAS: Final = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)


class PreviewStore(CatalogStore, TriggerStore, Protocol):
    """What switching previews needs of the store."""


class PreviewSwitch:
    """Switches a script's previews. ``scope``: the only tenant to touch, None for all."""

    def __init__(self, store: PreviewStore, changes: Changes, locks: KeyedLocks) -> None:
        self._store = store
        self._changes = changes
        self._locks = locks

    async def put(self, key: ScriptKey, enabled: bool, *, scope: str | None) -> Script:
        """The script afterwards. Raises ScriptMissing."""
        async with self._locks.hold(key):
            script = await self._store.get_script(key)
            if script is None or scope not in (None, script.tenant):
                raise missing(key)
            if script.previews == enabled:
                return script
            try:
                changed = await self._store.put_previews(key, enabled)
            finally:
                self._changes.previews_changed(key)
        if changed is None:
            raise missing(key)
        return changed


def preview_labels(config: Config, version: Version) -> list[str]:
    """What stands before the base domain in a version's own hostnames: by its id, by its alias."""
    if version.key.namespace != config.default_namespace:
        return []
    prefixes = (version.id[:ID_DIGITS], version.alias)
    labels = [f"{prefix}-{version.key.name}" for prefix in prefixes if prefix]
    return [label for label in labels if is_label(label)]


def check_alias(alias: str, script: str) -> str:
    """The alias. Raises BadUpload, saying the rule, unless it can be part of a hostname."""
    if alias and not (_ALIAS.fullmatch(alias) and is_label(f"{alias}-{script}")):
        raise BadUpload(
            f"{alias[:80]!r} cannot be a preview alias: use lower-case letters, digits and single"
            " hyphens between them, a letter first; with a hyphen and the script's name at most"
            f" {MAX_SCRIPT_NAME} characters",
            fix="choose another alias, such as staging",
        )
    return alias
