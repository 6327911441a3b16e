"""Where listening sockets come from: bound here, or given by systemd, a parent, a manager."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from typing import Final

import msgspec

from gateway.config import Listen
from gateway.errors import ConfigError

BACKLOG: Final = 2048
"""Connections that wait for a node that starts; the kernel may allow fewer (somaxconn)."""
_LISTEN_FDS_START: Final = 3
"""The first descriptor of socket activation (sd_listen_fds(3))."""


class Sockets(msgspec.Struct, frozen=True):
    """Both listening sockets of a node."""

    tenants: socket.socket
    api: socket.socket
    own: tuple[socket.socket, ...] = ()
    """Those that were bound here; others wait on the rest, too."""


def listen_on(listen: Listen) -> socket.socket:
    """A listening socket. Raises ConfigError when the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((listen.host, listen.port))
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"cannot listen on {listen.host}:{listen.port}: {error.strerror}. "
            "Stop what uses it, or choose another with --port / --api-port."
        ) from None
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def activated(environment: MutableMapping[str, str]) -> dict[str, socket.socket]:
    """Sockets that systemd holds for this service, by name: ``tenants`` and ``api``.

    Without names the first is the tenants' and the second the control API's. Raises ConfigError.
    """
    if environment.pop("LISTEN_PID", "") != str(os.getpid()):
        return {}
    count = int(environment.pop("LISTEN_FDS", "0") or 0)
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if not {"tenants", "api"} & set(names):
        names = ["tenants", "api"]
    found = {}
    for name, number in zip(names, range(count), strict=False):
        if name in ("tenants", "api"):
            found[name] = inherited(_LISTEN_FDS_START + number)
    return found


def inherited(descriptor: int) -> socket.socket:
    """The listening socket behind a descriptor. Raises ConfigError when it is none."""
    try:
        sock = adopt(descriptor)
        listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ConfigError(f"descriptor {descriptor} is no socket: {error.strerror}") from None
    if not listening:
        raise ConfigError(f"descriptor {descriptor} is a socket that does not listen")
    return sock


def adopt(descriptor: int) -> socket.socket:
    """The socket behind a descriptor that this process was started with."""
    os.set_inheritable(descriptor, False)
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    return sock
