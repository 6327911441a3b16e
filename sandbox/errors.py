"""The sandbox's error tree.

SandboxError
├── HostUnfit        this host lacks a barrier that the configured minimum level needs
├── SupervisorDown   the zygote is gone and could not be started again
├── SpawnError       one instance could not be started
│   ├── SpawnLost    … because it was killed, or its zygote ended, before it was given any code
│   └── JailError    … because a step of the jail failed; ``step`` names it
└── ProtocolError    the peer broke the wire protocol
"""

from __future__ import annotations


class SandboxError(Exception):
    """Root of everything the sandbox raises."""


class HostUnfit(SandboxError):
    """This host lacks a barrier that running untrusted code needs."""

    def __init__(self, barrier: str, why: str, fix: str) -> None:
        super().__init__(f"{barrier}: {why}. Fix: {fix}")
        self.barrier = barrier
        self.why = why
        self.fix = fix


class SupervisorDown(SandboxError):
    """The zygote process is gone and no instance can be started."""


class SpawnError(SandboxError):
    """One instance could not be started."""


class SpawnLost(SpawnError):
    """One instance was killed, or its zygote ended, before it was given any code."""


class JailError(SpawnError):
    """A step of the jail failed before tenant code was received."""

    def __init__(self, step: str, why: str) -> None:
        super().__init__(f"jail step {step!r} failed: {why}")
        self.step = step
        self.why = why


class ProtocolError(SandboxError):
    """The peer sent bytes that the wire protocol does not allow."""
