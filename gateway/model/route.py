"""Where a request goes."""

from __future__ import annotations

import msgspec

from gateway.model.plan import Limits
from gateway.model.script import ScriptKey, TenantStatus


class HostnameRecord(msgspec.Struct, frozen=True, rename="camel"):
    """The value of a ``hostname:<host>`` key, as JSON in the routing store."""

    worker_name: str
    namespace: str = ""
    tenant: str = ""


class Choice(msgspec.Struct, frozen=True):
    """A version that serves a part of a script's requests."""

    below: float
    """Upper end of its range between 0 and 100; ranges follow each other."""
    version_id: str
    limits: Limits


class Route(msgspec.Struct, frozen=True, gc=False):
    """A resolved request: the script version that serves it, and under which limits."""

    key: ScriptKey
    tenant: str
    version_id: str
    plan: str
    limits: Limits
    status: TenantStatus
    split: tuple[Choice, ...] = ()
    """All versions that may serve, when there are several: one is chosen for each request."""
    mount: str = ""
    """Path prefix below which the script lives (``/acme/hello``), empty at the root of a host."""
    least_instances: int = 0
    """What that of its versions may have that may have least; 0 where there is only one."""
    preview: bool = False
    """One version on a hostname of its own, whether or not it is deployed."""
