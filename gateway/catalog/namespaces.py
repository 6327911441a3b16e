"""Dispatch namespaces: containers of tenants' scripts."""

from __future__ import annotations

import time
import uuid
from typing import Protocol

from gateway.catalog.errors import BadName, NamespaceConflict, NamespaceMissing
from gateway.config import Config
from gateway.model.naming import is_label
from gateway.model.script import Namespace
from gateway.store.base import CatalogStore, NamespaceStore


class NamespacesStore(CatalogStore, NamespaceStore, Protocol):
    """What namespaces need of the store."""


class Namespaces:
    """Creates, lists and removes namespaces."""

    def __init__(self, config: Config, store: NamespacesStore) -> None:
        self._config = config
        self._store = store
        self._default = config.default_namespace

    async def list(self) -> list[Namespace]:
        """All namespaces, by name."""
        await check_namespace(self._config, self._store, self._default)
        return await self._store.list_namespaces()

    async def get(self, name: str) -> Namespace:
        """A namespace. Raises NamespaceMissing."""
        return await check_namespace(self._config, self._store, name)

    async def count(self, name: str) -> int:
        """Number of scripts in a namespace."""
        return await self._store.count_scripts(name)

    async def create(self, name: str) -> Namespace:
        """Create a namespace. Raises BadName or NamespaceConflict."""
        await self._check_new(name)
        namespace = _new(name, uuid.uuid4())
        await self._store.put_namespace(namespace)
        return namespace

    async def rename(self, name: str, new: str) -> Namespace:
        """Rename an empty namespace. Raises NamespaceMissing, BadName or NamespaceConflict."""
        namespace = await self.get(name)
        if new == name:
            return namespace
        if name == self._default:
            raise NamespaceConflict(
                f"{name!r} is the default dispatch namespace and keeps its name",
                fix="create another one",
            )
        await self._check_new(new)
        if not await self._store.rename_namespace(name, new):
            raise NamespaceConflict(
                f"dispatch namespace {name!r} is not empty",
                fix="create another namespace and deploy the scripts there",
            )
        return await self.get(new)

    async def delete(self, name: str) -> None:
        """Remove an empty namespace. Raises NamespaceMissing or NamespaceConflict."""
        await self.get(name)
        if name == self._default:
            raise NamespaceConflict(
                f"{name!r} is the default dispatch namespace and stays",
                fix="set default_namespace to another one first",
            )
        if not await self._store.delete_namespace(name):
            raise NamespaceConflict(
                f"dispatch namespace {name!r} is not empty", fix="delete its scripts first"
            )

    async def _check_new(self, name: str) -> None:
        if not is_label(name):
            raise BadName(
                f"{name[:80]!r} cannot name a dispatch namespace",
                fix="use lower-case letters, digits and single hyphens, at most 63 characters",
            )
        if await self._store.get_namespace(name) is not None:
            raise NamespaceConflict(f"dispatch namespace {name!r} exists already")


async def check_namespace(config: Config, store: CatalogStore, name: str) -> Namespace:
    """The namespace of that name. Raises NamespaceMissing; the default one always exists."""
    namespace = await store.get_namespace(name)
    if namespace is None and name == config.default_namespace:
        # the same id each time: whoever else stores it now stores the same row
        stable = uuid.uuid5(uuid.NAMESPACE_DNS, name)
        namespace = _new(name, stable)
        await store.put_namespace(namespace)
    if namespace is None:
        raise NamespaceMissing(f"dispatch namespace {name[:80]!r} not found", fix="create it first")
    return namespace


def _new(name: str, namespace_id: uuid.UUID) -> Namespace:
    return Namespace(str(namespace_id), name, time.time_ns() // 1_000_000)
