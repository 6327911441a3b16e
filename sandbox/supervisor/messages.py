"""What gateway and zygote say to each other: one JSON document a packet on the control socket."""

from __future__ import annotations

from typing import Final

import msgspec

MAX_PACKET: Final = 1 << 18
"""Longest packet, bytes: the configuration, which names the runtime's files, is the longest."""
MAX_DESCRIPTORS: Final = 4


class ZygoteConfig(msgspec.Struct, frozen=True):
    """The first packet: how the zygote sets itself up."""

    sandbox_dir: str
    """Directory of the ``sandbox`` package."""
    import_path: list[str]
    """Directories to import from, beside the interpreter's own."""
    paths: list[str]
    """Files and directories of packages and runtime to show in the jail."""
    packages: list[str]
    """Distributions to load and exercise."""
    user_namespace: bool
    """True when the gateway may not make namespaces without one."""
    namespaces: bool
    """False on the rung of the ladder that does without any."""
    insecure: bool
    work_dir: str
    """Where instances get their directories when nothing can be mounted; empty: a default."""
    nice: int
    """Nice value of it and its instances, at least."""
    slice_ns: int
    """The turn that they ask the scheduler for at first."""


class SpawnOrder(msgspec.Struct, frozen=True):
    """Start one instance; comes with the wire and the log pipe."""

    order: int
    memory_bytes: int
    scratch_bytes: int
    bundle_bytes: int
    bundle_files: int
    probe: bool = False
    """Try the barriers from inside, say HELLO if they hold, and end."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The zygote takes orders."""

    landlock_abi: int


class Fatal(msgspec.Struct, frozen=True, tag="fatal"):
    """The zygote could not set itself up."""

    step: str
    why: str


class Forked(msgspec.Struct, frozen=True, tag="forked"):
    """An order led to a child; comes with its pidfd."""

    order: int
    pid: int
    """As the zygote numbers it."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """An order could not be carried out."""

    order: int
    why: str


class Exited(msgspec.Struct, frozen=True, tag="exited"):
    """A child was reaped."""

    pid: int
    status: int
    """As wait(2) gives it."""
    cpu_ns: int
    peak_rss_bytes: int


Report = Ready | Fatal | Forked | Refused | Exited
encode: Final = msgspec.json.Encoder().encode
decode_config: Final = msgspec.json.Decoder(ZygoteConfig).decode
decode_order: Final = msgspec.json.Decoder(SpawnOrder).decode
decode_report: Final = msgspec.json.Decoder(Report).decode
