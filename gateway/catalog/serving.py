"""How a version comes to serve: really started in the jail first, and only then stored."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from gateway.catalog.errors import (
    BadUpload,
    CodeRejected,
    NameForeign,
    NoHandlers,
    ScriptMissing,
    UploadConflict,
    VersionMissing,
)
from gateway.catalog.launcher import Candidate, Launcher, Unstarted
from gateway.catalog.locks import KeyedLocks
from gateway.catalog.namespaces import check_namespace
from gateway.catalog.owners import Owners, owner_within
from gateway.config import Config
from gateway.errors import ControlError, StartFailed
from gateway.model.script import JAVASCRIPT, Deployment, Script, ScriptKey, Tenant, Version
from gateway.observer import Changes
from gateway.store.base import CatalogStore, VersionStore
from sandbox.payloads import Failed

logger = logging.getLogger(__name__)

_MAX_MESSAGE: Final = 2000


class ServingStore(CatalogStore, VersionStore, Protocol):
    """What serving needs of the store."""


@dataclass(frozen=True, slots=True)
class Current:
    """What a script serves at the moment."""

    script: Script
    version: Version


@dataclass(frozen=True, slots=True)
class Deployed:
    """A version that now serves."""

    script: Script
    version: Version
    notes: tuple[str, ...] = ()


class Serving:
    """Starts versions, stores them and makes them serve, one change of a script at a time.

    ``scope``: the only tenant whose scripts may be touched, None for all.
    """

    def __init__(
        self,
        config: Config,
        store: ServingStore,
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

    def hold(self, key: ScriptKey) -> AbstractAsyncContextManager[None]:
        """Wait until nobody changes the script, and keep others from it."""
        return self._locks.hold(key)

    @asynccontextmanager
    async def hold_upload(self, key: ScriptKey) -> AsyncIterator[None]:
        """Hold the script for an upload; one made of what came before another would undo that one.

        Raises UploadConflict while there is another.
        """
        with self._locks.alone(key) as free:
            if not free:
                raise UploadConflict(
                    f"another upload of script {key.name!r} is under way; it goes on, this one"
                    " changed nothing",
                    fix="upload again when it is done",
                )
            async with self._locks.hold(key):
                yield

    async def owner(self, key: ScriptKey, scope: str | None) -> Tenant:
        """Whose the script's name is. Raises NameForeign or NamespaceMissing."""
        owner = await owner_within(self._owners, key.name, scope)
        await check_namespace(self._config, self._store, key.namespace)
        return owner

    async def find(self, key: ScriptKey) -> Current | None:
        """What the script serves; None when it does not exist."""
        script = await self._store.get_script(key)
        version = await self._store.get_version(script.version_id) if script else None
        return Current(script, version) if script and version else None

    async def current(self, key: ScriptKey, scope: str | None) -> Current:
        """What the script serves. Raises ScriptMissing."""
        current = await self.find(key)
        if current is None or scope not in (None, current.version.tenant):
            raise missing(key)
        return current

    async def put(self, version: Version, plan: str) -> Deployed:
        """Start a new version, store it, make it serve."""
        deployed = await self._serve([version], plan, self._store.put_version)
        self._changes.deployed(deployed.script, version.triggered_by, version.message)
        return deployed

    async def promote(
        self, versions: Sequence[Version], plan: str, deployment: Deployment
    ) -> Deployed:
        """Start stored versions and make them serve; the first stands for all of them.

        Raises VersionMissing.
        """

        async def commit(version: Version) -> Script:
            script = await self._store.serve_version(deployment)
            if script is None:
                raise VersionMissing(f"there is no version {version.id!r} any more")
            return script

        deployed = await self._serve(versions, plan, commit)
        self._changes.deployed(deployed.script, deployment.triggered_by, deployment.message)
        return deployed

    async def add(self, version: Version, plan: str) -> Version:
        """Start a new version and store it, serving nothing yet."""
        candidate, version = await self._start(version, plan)
        candidate.discard()
        async with self._owners.claim(version.key.name) as owner:
            _check_owner(version, owner)
            try:
                return await self._store.add_version(version)
            finally:
                self._changes.previews_changed(version.key)

    async def _serve(
        self,
        versions: Sequence[Version],
        plan: str,
        commit: Callable[[Version], Awaitable[Script]],
    ) -> Deployed:
        started: list[tuple[Candidate, Version]] = []
        try:
            for stored in versions:
                started.append(await self._start(stored, plan))  # noqa: PERF401 — undone below
            version = started[0][1]
            await check_namespace(self._config, self._store, version.key.namespace)
            script = await self._commit(version, commit)
        except BaseException:
            for candidate, _ in started:
                candidate.discard()
            raise
        for candidate, ready in started:
            _adopt(candidate, ready)
        return Deployed(script, version)

    async def _start(self, version: Version, plan: str) -> tuple[Candidate, Version]:
        """Start a version in the jail; returns it with what was learnt."""
        if version.kind == JAVASCRIPT:
            return Unstarted(), version
        limits = self._config.plan(plan).limits.lowered_by(version.limits)
        try:
            candidate = await self._launcher.launch(version, limits)
        except StartFailed as error:
            raise _rejection(error.failed) from None
        return candidate, msgspec.structs.replace(
            version,
            handlers=tuple(candidate.ready.handlers),
            kind=candidate.ready.kind,
            startup_ms=candidate.startup_ms,
        )

    async def _commit(
        self, version: Version, commit: Callable[[Version], Awaitable[Script]]
    ) -> Script:
        async with self._owners.claim(version.key.name) as owner:
            _check_owner(version, owner)
            try:
                return await commit(version)
            finally:
                # also when cancelled: the transaction may have been committed
                self._changes.script_changed(version.key)


def missing(key: ScriptKey) -> ScriptMissing:
    """What is said of a script that is not there, or is another tenant's."""
    return ScriptMissing(
        f"script {key.name[:80]!r} not found in dispatch namespace {key.namespace[:80]!r}",
        fix="deploy it first",
    )


def _check_owner(version: Version, owner: Tenant) -> None:
    if owner.slug != version.tenant:
        raise NameForeign(
            f"script {version.key.name!r} belongs to tenant {owner.slug!r} by now",
            fix="deploy again under a name of your own",
        )


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
    if failed.reason in ("cpu", "wall"):
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
