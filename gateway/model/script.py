"""Scripts, their versions, and the tenants that own them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec


class ScriptKey(NamedTuple):
    """The identity of a script on this platform."""

    namespace: str
    name: str


class TenantStatus(StrEnum):
    """Whether a tenant's scripts are served."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


class Tenant(msgspec.Struct, frozen=True):
    """One of the operator's customers."""

    slug: str
    plan: str
    status: TenantStatus
    created_ms: int
    name: str = ""


class Namespace(msgspec.Struct, frozen=True):
    """A dispatch namespace: the container of tenants' scripts."""

    id: str
    name: str
    created_ms: int


class Binding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One named value of a version's ``env``."""

    name: str
    type: str
    """``plain_text``, ``secret_text`` or ``json``."""
    text: str | None = None
    json: Any = None

    @property
    def value(self) -> Any:
        """What ``env.<name>`` is inside the instance."""
        return self.json if self.type == "json" else self.text


class Module(msgspec.Struct, frozen=True):
    """One file of a bundle."""

    name: str
    content_type: str
    content: bytes


class Bytecode(msgspec.Struct, frozen=True):
    """What the modules of a version were compiled to."""

    interpreter: str
    """The only one that can use it."""
    sizes: tuple[int, ...] = ()
    """Bytes by module, in order, 0 where there are none; empty: there are none at all."""
    content: bytes = b""
    """One after the other."""


WORKER: Final = "worker"
JAVASCRIPT: Final = "javascript"
"""The kind of a version that is stored only: there is no runtime for it."""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable snapshot of code and configuration."""

    id: str
    key: ScriptKey
    tenant: str
    etag: str
    created_ms: int
    main_module: str
    modules: tuple[Module, ...]
    entrypoint: str | None = None
    """Callable named by the metadata; None: the usual names are looked for."""
    bindings: tuple[Binding, ...] = ()
    limits: dict[str, int] = {}
    """The script's own, lower limits, by field name of :class:`gateway.model.plan.Limits`."""
    compatibility_date: str = ""
    compatibility_flags: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    handlers: tuple[str, ...] = ()
    kind: str = WORKER
    startup_ms: int = 0
    number: int = 0
    """Counts a script's versions from 1; given by the store."""
    triggered_by: str = "upload"
    """What made it: ``upload``, ``secret``, ``settings`` or ``content``."""
    message: str = ""
    label: str = ""
    """The tag that its uploader gave this version."""
    alias: str = ""
    """A name of its uploader's choice, on which it answers until a newer version takes it."""


class Share(msgspec.Struct, frozen=True):
    """How much of a script's requests a version gets."""

    version_id: str
    percentage: float
    limits: dict[str, int] = {}
    """What the version asks for below its tenant's plan."""


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of which version serves."""

    id: str
    key: ScriptKey
    version_id: str
    created_ms: int
    triggered_by: str = "promotion"
    """``promotion`` or ``rollback`` of a stored version, or what made the version."""
    message: str = ""
    split: tuple[Share, ...] = ()
    """All versions that serve, the newest first; empty when ``version_id`` alone does."""


class Cron(msgspec.Struct, frozen=True):
    """A time at which a script is called without being asked."""

    cron: str
    """The expression, as its owner wrote it."""
    created_ms: int
    modified_ms: int


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A script as the resolver needs it: who owns it and which version serves, without its code."""

    key: ScriptKey
    tenant: str
    version_id: str
    created_ms: int
    modified_ms: int
    etag: str = ""
    tags: tuple[str, ...] = ()
    handlers: tuple[str, ...] = ()
    limits: dict[str, int] = {}
    split: tuple[Share, ...] = ()
    """All versions that serve, the newest first; empty when ``version_id`` alone does."""
    previews: bool = True
    """Whether each version answers on a hostname of its own."""
    crons: tuple[Cron, ...] = ()
