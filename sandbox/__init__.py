"""Running untrusted Python in jailed, metered processes.

This façade is all that a gateway may name. The package knows nothing of HTTP servers, tenants'
plans or databases.
"""

from __future__ import annotations

from sandbox import payloads, protocol
from sandbox.doctor import examine_host
from sandbox.errors import (
    HostUnfit,
    JailError,
    ProtocolError,
    SandboxError,
    SpawnError,
    SpawnLost,
    SupervisorDown,
)
from sandbox.ladder import EVERY as LEVELS
from sandbox.ladder import RUNGS, Barrier, Rung, reaches
from sandbox.ladder import highest as host_level
from sandbox.ladder import missing as missing_barriers
from sandbox.outcome import ExitStatus, Outcome, classify_exit
from sandbox.spec import MIB, SandboxSpec, SupervisorSettings
from sandbox.supervisor.charge import Charge
from sandbox.supervisor.instance import Sandbox
from sandbox.supervisor.meter import Meter
from sandbox.supervisor.supervisor import Supervisor
from sandbox.supervisor.watchdog import Watchdog

__all__ = [
    "LEVELS",
    "MIB",
    "RUNGS",
    "Barrier",
    "Charge",
    "ExitStatus",
    "HostUnfit",
    "JailError",
    "Meter",
    "Outcome",
    "ProtocolError",
    "Rung",
    "Sandbox",
    "SandboxError",
    "SandboxSpec",
    "SpawnError",
    "SpawnLost",
    "Supervisor",
    "SupervisorDown",
    "SupervisorSettings",
    "Watchdog",
    "classify_exit",
    "examine_host",
    "host_level",
    "missing_barriers",
    "payloads",
    "protocol",
    "reaches",
]
