"""Running untrusted Python in jailed, metered processes.

This façade is all that a gateway may name. The package knows nothing of HTTP servers, tenants'
plans or databases.
"""

from __future__ import annotations

from sandbox import protocol
from sandbox.errors import (
    HostUnfit,
    JailError,
    ProtocolError,
    SandboxError,
    SpawnError,
    SupervisorDown,
)
from sandbox.outcome import ExitStatus, Outcome, classify_exit
from sandbox.spec import MIB, SandboxSpec, SupervisorSettings
from sandbox.supervisor.meter import Charge, Meter
from sandbox.supervisor.watchdog import Watchdog

__all__ = [
    "MIB",
    "Charge",
    "ExitStatus",
    "HostUnfit",
    "JailError",
    "Meter",
    "Outcome",
    "ProtocolError",
    "SandboxError",
    "SandboxSpec",
    "SpawnError",
    "SupervisorDown",
    "SupervisorSettings",
    "Watchdog",
    "classify_exit",
    "protocol",
]
