"""Uploads, and changes to what serves: each makes a version that is started before it serves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import msgspec

from gateway.catalog.bindings import resolve_bindings, with_secrets
from gateway.catalog.metadata import Settings, check_tags
from gateway.catalog.serving import Current, Deployed, Serving, missing
from gateway.catalog.uploads import Upload, build_version, changed, with_code
from gateway.config import Config
from gateway.model.script import Module, Script, ScriptKey, Version
from gateway.store.base import CatalogStore

Hold = Callable[[ScriptKey], AbstractAsyncContextManager[None]]


class Deploys:
    """Uploads code; changes secrets, settings and tags of what serves.

    ``scope``: the only tenant whose scripts may be touched, None for all. When a change fails,
    what served goes on serving.
    """

    def __init__(self, config: Config, store: CatalogStore, serving: Serving) -> None:
        self._config = config
        self._store = store
        self._serving = serving

    async def upload(self, key: ScriptKey, upload: Upload, *, scope: str | None) -> Deployed:
        """Deploy an upload. Of several of one script at once, one wins.

        Raises UploadConflict for the others; changes of other kinds wait their turn.
        """
        owner = await self._serving.owner(key, scope)
        async with self._serving.hold_upload(key):
            current = await self._serving.find(key)
            previous = current.version if current else None
            version = build_version(upload, key, owner.slug, previous, self._config.upload)
            if upload.metadata.tags is None and current is not None:
                version = msgspec.structs.replace(version, tags=current.script.tags)
            deployed = await self._serving.put(version, owner.plan)
        return replace(deployed, notes=tuple(upload.metadata.notes))

    async def put_content(
        self, key: ScriptKey, modules: tuple[Module, ...], main: str | None, *, scope: str | None
    ) -> Deployed:
        """Replace a script's code; bindings and settings stay."""

        def change(current: Current) -> Version:
            return with_code(current.version, modules, main, self._config.upload)

        return await self._change(key, change, "content", scope, hold=self._serving.hold_upload)

    async def edit_settings(
        self, key: ScriptKey, settings: Settings, *, scope: str | None
    ) -> Deployed:
        """Change what ``settings`` names; the rest stays."""
        if not settings.versioned:
            given = settings.tags
            if given is not None:
                await self.change_tags(key, lambda _: given, scope=scope)
            current = await self._serving.current(key, scope)
            return Deployed(current.script, current.version, tuple(settings.notes))

        def change(current: Current) -> Version:
            bindings = None
            if settings.bindings is not None:
                bindings = resolve_bindings(settings.bindings, current.version.bindings)
            return settings.applied_to(current.version, bindings)

        deployed = await self._change(key, change, "settings", scope, tags=settings.tags)
        return replace(deployed, notes=tuple(settings.notes))

    async def change_tags(
        self, key: ScriptKey, change: Callable[[list[str]], Iterable[str]], *, scope: str | None
    ) -> Script:
        """Derive a script's tags from those it has; its code is not started again."""
        async with self._serving.hold(key):
            current = await self._serving.current(key, scope)
            tags = check_tags(change(list(current.script.tags)))
            script = await self._store.put_tags(key, tags)
        if script is None:
            raise missing(key)
        return script

    async def put_secret(
        self, key: ScriptKey, name: str, text: str, *, scope: str | None
    ) -> Deployed:
        """Set one secret of a script; the code is started again with it."""
        return await self.put_secrets(key, {name: text}, scope=scope)

    async def delete_secret(self, key: ScriptKey, name: str, *, scope: str | None) -> Deployed:
        """Remove one secret of a script. Raises SecretMissing."""
        return await self.put_secrets(key, {name: None}, scope=scope)

    async def put_secrets(
        self,
        key: ScriptKey,
        secrets: Mapping[str, str | None],
        *,
        scope: str | None,
        missing_ok: bool = False,
    ) -> Deployed:
        """Set many secrets at once, remove those that are None: all or none."""

        def change(current: Current) -> Version:
            old = current.version.bindings
            bindings = with_secrets(old, secrets, missing_ok=missing_ok)
            return msgspec.structs.replace(current.version, bindings=bindings)

        return await self._change(key, change, "secret", scope)

    async def _change(
        self,
        key: ScriptKey,
        change: Callable[[Current], Version],
        triggered_by: str,
        scope: str | None,
        *,
        tags: Iterable[str] | None = None,
        hold: Hold | None = None,
    ) -> Deployed:
        async with (hold or self._serving.hold)(key):
            current = await self._serving.current(key, scope)
            owner = await self._serving.owner(key, scope)
            version = changed(change(current), triggered_by)
            kept = current.script.tags if tags is None else check_tags(tags)
            version = msgspec.structs.replace(version, tags=kept)
            return await self._serving.put(version, owner.plan)
