"""Versions and deployments: storing code without serving it, serving what is stored."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.catalog.bindings import with_secrets
from gateway.catalog.errors import BadDeployment, DeploymentMissing, VersionMissing
from gateway.catalog.serving import Deployed, Serving, ServingStore, missing
from gateway.catalog.uploads import Upload, build_version, changed
from gateway.config import Config
from gateway.model.script import Deployment, ScriptKey, Share, Version

MAX_SHARES: Final = 5
"""Versions that may serve at once: each has instances of its own."""
TOLERANCE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Added:
    """A version that is stored and serves nothing yet."""

    version: Version
    notes: tuple[str, ...] = ()


class Versions:
    """A script's versions and deployments, newest first.

    ``scope``: the only tenant whose scripts may be touched, None for all.
    """

    def __init__(self, config: Config, store: ServingStore, serving: Serving) -> None:
        self._config = config
        self._store = store
        self._serving = serving

    async def add(self, key: ScriptKey, upload: Upload, *, scope: str | None) -> Added:
        """Store an upload; it takes over bindings from the newest version, serving or not."""
        owner = await self._serving.owner(key, scope)
        async with self._serving.hold(key):
            current = await self._serving.current(key, scope)
            newest = (await self._store.list_versions(key))[:1]
            previous = newest[0] if newest else current.version
            version = build_version(upload, key, owner.slug, previous, self._config.upload)
            added = await self._serving.add(version, owner.plan)
        return Added(added, tuple(upload.metadata.notes))

    async def add_secrets(
        self,
        key: ScriptKey,
        secrets: Mapping[str, str | None],
        *,
        message: str = "",
        label: str = "",
        scope: str | None,
    ) -> Added:
        """Store the newest version again with secrets set, and removed where None."""
        async with self._serving.hold(key):
            current = await self._serving.current(key, scope)
            owner = await self._serving.owner(key, scope)
            (newest, *_) = await self._store.list_versions(key)
            previous = await self._store.get_version(newest.id) or current.version
            bindings = with_secrets(previous.bindings, secrets)
            version = msgspec.structs.replace(
                changed(msgspec.structs.replace(previous, bindings=bindings), "secret"),
                message=message,
                label=label,
            )
            return Added(await self._serving.add(version, owner.plan))

    async def kept(self, key: ScriptKey, *, scope: str | None) -> list[Version]:
        """The versions that are kept, without the content of their modules."""
        await self._check(key, scope)
        return await self._store.list_versions(key)

    async def get(self, key: ScriptKey, version_id: str, *, scope: str | None) -> Version:
        """One version with its code. Raises VersionMissing."""
        await self._check(key, scope)
        version = await self._store.get_version(version_id)
        if version is None or version.key != key:
            raise VersionMissing(
                f"script {key.name!r} has no version {version_id[:80]!r}",
                fix="look at the list of versions: the oldest ones are removed",
            )
        return version

    async def deploy(
        self,
        key: ScriptKey,
        shares: Mapping[str, float],
        message: str,
        *,
        scope: str | None,
        triggered_by: str = "",
        only_if: str = "",
    ) -> tuple[Deployed, Deployment]:
        """Make stored versions serve, each its percentage of the requests; together 100.

        ``only_if``: the id of the deployment that has still to be the newest one.
        """
        check_shares(shares)
        async with self._serving.hold(key):
            if only_if and (await self._store.list_deployments(key))[0].id != only_if:
                raise DeploymentMissing("another deployment was made meanwhile")
            found = [await self.get(key, version_id, scope=scope) for version_id in shares]
            current = await self._serving.current(key, scope)
            owner = await self._serving.owner(key, scope)
            newest_first = sorted(found, key=lambda version: -version.number)
            # What stands for the script where only one version is shown.
            most = max(newest_first, key=lambda version: shares[version.id])
            back = all(version.number < current.version.number for version in found)
            deployment = Deployment(
                id=str(uuid.uuid4()),
                key=key,
                version_id=most.id,
                created_ms=time.time_ns() // 1_000_000,
                triggered_by=triggered_by or ("rollback" if back else "promotion"),
                message=message,
                split=tuple(
                    Share(version.id, shares[version.id], version.limits)
                    for version in newest_first
                )
                if len(found) > 1
                else (),
            )
            others = [version for version in newest_first if version is not most]
            deployed = await self._serving.promote([most, *others], owner.plan, deployment)
        return deployed, deployment

    async def deployments(self, key: ScriptKey, *, scope: str | None) -> list[Deployment]:
        """The deployments that are kept; the first one serves."""
        await self._check(key, scope)
        return await self._store.list_deployments(key)

    async def deployment(
        self, key: ScriptKey, deployment_id: str, *, scope: str | None
    ) -> Deployment:
        """One deployment. Raises DeploymentMissing."""
        for deployment in await self.deployments(key, scope=scope):
            if deployment.id == deployment_id:
                return deployment
        raise DeploymentMissing(f"script {key.name!r} has no deployment {deployment_id[:80]!r}")

    async def _check(self, key: ScriptKey, scope: str | None) -> None:
        script = await self._store.get_script(key)
        if script is None or scope not in (None, script.tenant):
            raise missing(key)


def check_shares(shares: Mapping[str, float]) -> None:
    """Raise BadDeployment unless the percentages can be served."""
    if not 1 <= len(shares) <= MAX_SHARES:
        raise BadDeployment(f"a deployment names one to {MAX_SHARES} versions")
    if any(not 0 <= percentage <= 100 for percentage in shares.values()):
        raise BadDeployment("a percentage is a number from 0 to 100")
    total = sum(shares.values())
    if abs(total - 100) > TOLERANCE:
        raise BadDeployment(
            f"the percentages add up to {total:g}", fix="let them add up to exactly 100"
        )
