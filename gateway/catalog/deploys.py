"""Deploys: a version is really started in the jail, and serves only when that went well."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from gateway.catalog.bindings import SECRET, check_name, check_size
from gateway.catalog.errors import (
    BadUpload,
    CodeRejected,
    NameForeign,
    NoHandlers,
    ScriptMissing,
    SecretMissing,
)
from gateway.catalog.launcher import Candidate, Launcher
from gateway.catalog.locks import KeyedLocks
from gateway.catalog.namespaces import check_namespace
from gateway.catalog.owners import Owners, owner_within
from gateway.catalog.uploads import Upload, build_version, with_bindings
from gateway.config import Config
from gateway.errors import ControlError, StartFailed
from gateway.model.script import Binding, Script, ScriptKey, Version
from gateway.observer import Changes
from gateway.store.base import CatalogStore
from sandbox.protocol import Failed

logger = logging.getLogger(__name__)

_MAX_MESSAGE: Final = 2000


@dataclass(frozen=True, slots=True)
class Deployed:
    """A version that now serves."""

    script: Script
    version: Version
    notes: tuple[str, ...] = ()


class Deploys:
    """Uploads code and changes secrets; either makes a new serving version."""

    def __init__(
        self,
        config: Config,
        store: CatalogStore,
        owners: Owners,
        launcher: Launcher,
        changes: Changes,
        locks: KeyedLocks,
    ) -> None:
        self._config = config
        self._store = store
        self._owners = owners
        self._launcher = launcher
        self._changes = changes
        self._locks = locks

    async def upload(self, key: ScriptKey, upload: Upload, *, scope: str | None) -> Deployed:
        """Deploy an upload. ``scope``: the only tenant whose names may be used, None for all.

        Uploads of one script wait for each other. When it fails, what served goes on serving.
        """
        owner = await owner_within(self._owners, key.name, scope)
        await check_namespace(self._config, self._store, key.namespace)
        async with self._locks.hold(key):
            previous = await self._serving(key)
            version = build_version(upload, key, owner.slug, previous, self._config.upload)
            deployed = await self._serve(version, owner.plan)
        return replace(deployed, notes=tuple(upload.metadata.notes))

    async def put_secret(
        self, key: ScriptKey, name: str, text: str, *, scope: str | None
    ) -> Deployed:
        """Set one secret of a script; the code is started again with it."""
        check_name(name)

        def change(old: tuple[Binding, ...]) -> Iterable[Binding]:
            others = [binding for binding in old if binding.name != name]
            return sorted([*others, Binding(name, SECRET, text=text)], key=lambda item: item.name)

        return await self._change_bindings(key, change, scope)

    async def delete_secret(self, key: ScriptKey, name: str, *, scope: str | None) -> Deployed:
        """Remove one secret of a script. Raises SecretMissing."""

        def change(old: tuple[Binding, ...]) -> Iterable[Binding]:
            if not any(binding.name == name and binding.type == SECRET for binding in old):
                raise SecretMissing(f"script {key.name!r} has no secret {name[:80]!r}")
            return [binding for binding in old if binding.name != name]

        return await self._change_bindings(key, change, scope)

    async def _change_bindings(
        self,
        key: ScriptKey,
        change: Callable[[tuple[Binding, ...]], Iterable[Binding]],
        scope: str | None,
    ) -> Deployed:
        async with self._locks.hold(key):
            previous = await self._serving(key)
            if previous is None or scope not in (None, previous.tenant):
                raise ScriptMissing(f"script {key.name[:80]!r} not found in {key.namespace[:80]!r}")
            owner = await owner_within(self._owners, key.name, scope)
            version = with_bindings(previous, change(previous.bindings))
            check_size(version.bindings)
            return await self._serve(version, owner.plan)

    async def _serving(self, key: ScriptKey) -> Version | None:
        script = await self._store.get_script(key)
        return await self._store.get_version(script.version_id) if script else None

    async def _serve(self, version: Version, plan: str) -> Deployed:
        """Start a version, store it, make it serve."""
        limits = self._config.plan(plan).limits.lowered_by(version.limits)
        try:
            candidate = await self._launcher.launch(version, limits)
        except StartFailed as error:
            raise _rejection(error.failed) from None
        try:
            version = msgspec.structs.replace(
                version,
                handlers=tuple(candidate.ready.handlers),
                kind=candidate.ready.kind,
                startup_ms=candidate.startup_ms,
            )
            script = await self._commit(version)
        except BaseException:
            candidate.discard()
            raise
        _adopt(candidate, version)
        return Deployed(script, version)

    async def _commit(self, version: Version) -> Script:
        await check_namespace(self._config, self._store, version.key.namespace)
        async with self._owners.claim(version.key.name) as owner:
            if owner.slug != version.tenant:
                raise NameForeign(
                    f"script {version.key.name!r} belongs to tenant {owner.slug!r} by now",
                    fix="deploy again under a name of your own",
                )
            try:
                return await self._store.put_version(version)
            finally:
                # also when cancelled: the transaction may have been committed
                self._changes.script_changed(version.key)


def _adopt(candidate: Candidate, version: Version) -> None:
    candidate.adopt()
    logger.info(
        "deployed",
        extra={
            "script": version.key.name,
            "namespace": version.key.namespace,
            "version": version.id,
            "startup_ms": version.startup_ms,
        },
    )


def _rejection(failed: Failed) -> ControlError:
    """The answer to code that could not be loaded, in words from the tenant's side."""
    if failed.reason == "cpu":
        return CodeRejected(
            "Script startup exceeded CPU time limit.", fix="do less when the module is imported"
        )
    if failed.reason == "memory":
        return CodeRejected(
            "Script startup exceeded memory limit.", fix="load less when the module is imported"
        )
    place = f"\n  at {failed.file[:255]}:{failed.line or 1}" if failed.file else ""
    message = failed.message[:_MAX_MESSAGE]
    if failed.reason == "entrypoint":
        return NoHandlers(
            f"{message}{place}",
            fix="define class Default(WorkerEntrypoint), on_fetch, or an ASGI or WSGI callable"
            " named app or application",
        )
    if failed.reason == "code":
        return CodeRejected(f"Uncaught {failed.name[:200]}: {message}{place}")
    return BadUpload(f"the script could not be started: {message}")
