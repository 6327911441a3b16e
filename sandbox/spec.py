"""What the gateway asks of the sandbox: plain values, no behaviour."""

from __future__ import annotations

import msgspec

MIB = 1 << 20


class SandboxSpec(msgspec.Struct, frozen=True):
    """The size of one instance. Equal specs are interchangeable before code is sent."""

    memory_bytes: int = 128 * MIB
    """What tenant code may allocate on top of the shared runtime."""
    scratch_bytes: int = 16 * MIB
    """Size of the private /tmp."""
    bundle_bytes: int = 64 * MIB
    """Size of the private /app that receives the script's modules."""
    bundle_files: int = 2000
    """Modules it has room for; the directories they lie in come on top."""


class SupervisorSettings(msgspec.Struct, frozen=True):
    """How the supervisor builds its zygote."""

    packages: tuple[str, ...] = ()
    """Distribution names importable inside the jail, with what they require; also preloaded."""
    minimum_level: str = "namespaces"
    """Lowest acceptable rung of the ladder, see :mod:`sandbox.doctor`."""
    insecure: bool = False
    """Development only: instances run as plain subprocesses, without any barrier."""
    cgroups: str = "auto"
    """``auto`` uses them where the node may make them, ``required`` refuses to start otherwise."""
    rotation_seconds: float = 0.0
    """After this time instances come from a fresh zygote; 0: never."""
    spares: int = 0
    """How many instances of each size are kept ready, see :mod:`.supervisor.spares`."""
    work_dir: str = ""
    """Where mount points may be made; empty: a fresh temporary directory."""
