"""Connections to where tenants want to go: the name is resolved once, here, judged, and pinned.

Every hop of every redirect comes through here, so neither a redirect nor a name that resolves
differently the second time (DNS rebinding) leads past the policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, Final, Protocol

import httpcore

from gateway.bindings.addresses import AddressPolicy
from gateway.bindings.incoming import BoundedStream
from gateway.bindings.shares import Shares

MAX_ADDRESSES: Final = 6
"""Addresses of one name that are tried."""
CONNECT_SECONDS: Final = 10.0
"""For resolving a name and connecting to it, when the caller names no time."""
NAMES_EACH: Final = 8
"""Names that are looked up for one tenant at once. A name whose servers are silent holds its thread
for many seconds, whoever still waits for it."""
_RESOLVER_THREADS: Final = 64
owner: ContextVar[str] = ContextVar("owner", default="")
"""The tenant on whose account the current task connects."""


class EgressDenied(httpcore.ConnectError):
    """The name leads to no address that tenants may reach."""


class DnsFailed(httpcore.ConnectError):
    """The name does not resolve."""


class ConnectFailed(httpcore.ConnectError):
    """No address of the name accepts connections."""


class Resolver(Protocol):
    """Turns a name into numeric addresses."""

    async def resolve(self, host: str, port: int) -> list[str]:
        """Addresses in order of preference. Raises OSError."""

    def close(self) -> None:
        """Let go of threads."""


class SystemResolver:
    """The host's own resolver, in threads of its own: slow names hold up nothing but names."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, "waypost-dns")
        self._shares = Shares(NAMES_EACH)

    async def resolve(self, host: str, port: int) -> list[str]:
        """Ask getaddrinfo, when it is the tenant's turn."""
        loop, tenant = asyncio.get_running_loop(), owner.get()

        def over(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                loop.call_soon_threadsafe(self._shares.give, tenant)

        await self._shares.take(tenant)
        try:
            asked = self._threads.submit(_getaddrinfo, host, port)
        except BaseException:
            self._shares.give(tenant)
            raise
        # Not when the wait is over: the thread goes on.
        asked.add_done_callback(over)
        return await asyncio.wrap_future(asked)

    def close(self) -> None:
        """End the threads; names under way are given up."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _getaddrinfo(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to allowed addresses only, by number."""

    def __init__(self, policy: AddressPolicy, resolver: Resolver) -> None:
        self._policy = policy
        self._resolver = resolver
        self._network: httpcore.AsyncNetworkBackend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve, judge, connect. Raises one of the errors above, or ConnectTimeout."""
        deadline = time.monotonic() + (CONNECT_SECONDS if timeout is None else timeout)
        addresses = await self._addresses(host, port, deadline)
        failure: Exception | None = None
        for index, address in enumerate(addresses):
            share = (deadline - time.monotonic()) / (len(addresses) - index)
            if share <= 0:
                break
            try:
                stream = await self._network.connect_tcp(
                    address, port, share, local_address, socket_options
                )
                return BoundedStream(stream)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        if failure is None or isinstance(failure, httpcore.ConnectTimeout):
            raise httpcore.ConnectTimeout(f"{host} did not accept a connection in time")
        raise ConnectFailed(f"{host} does not accept connections on port {port}") from failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never."""
        raise EgressDenied("Unix sockets are not reachable")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._network.sleep(seconds)

    async def _addresses(self, host: str, port: int, deadline: float) -> list[str]:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                found = await self._resolver.resolve(host, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"{host} did not resolve in time") from None
        except (OSError, ValueError):
            raise DnsFailed(f"{host} does not resolve") from None
        if not found:
            raise DnsFailed(f"{host} does not resolve")
        allowed = [address for address in found if self._policy.allows(address)]
        if not allowed:
            # Which addresses it has is not said: names of the operator's network stay opaque.
            raise EgressDenied(f"{host} is not on the public internet")
        return allowed[:MAX_ADDRESSES]
