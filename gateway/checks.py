"""What the values of a configuration must satisfy beyond their types."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any, Final, TypeAlias

from msgspec.structs import asdict, replace

from gateway.config import Config
from gateway.errors import ConfigError
from gateway.model.claim import split_address
from gateway.processes.cells import MOST_PROCESSES
from gateway.routing.hosts import normalise_host
from sandbox import LEVELS

Places: TypeAlias = dict[tuple[str, ...], str]
"""Where each value was given: ``("plans", "free", "cpu_ms")`` → ``routing.yaml:12``."""

MINIMUM_LEVELS: Final = tuple(reversed(LEVELS))
CGROUPS: Final = ("auto", "required")
JAVASCRIPT: Final = ("refuse", "store")
VERIFICATIONS: Final = ("txt", "http", "operator", "off")
LEAST_ROTATION_SECONDS: Final = 60
MOST_SPARES: Final = 64
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
# Zero turns these off; every other limit must leave room for one.
_MAY_BE_ZERO: Final = frozenset({"subrequests", "scratch_mb"})
_Problem: TypeAlias = "tuple[tuple[str, ...], str]"


def check(config: Config, places: Places) -> Config:
    """Return the configuration with hostnames normalised. Raises ConfigError at what is wrong."""
    for rule in _RULES:
        problem = rule(config)
        if problem is not None:
            path, reason = problem
            raise ConfigError(f"{_place(path, places)}: {'.'.join(path)}: {reason}")
    routing = config.routing
    return replace(
        config,
        routing=replace(
            routing,
            base_domain=_host(routing.base_domain),
            functions_domain=_host(routing.functions_domain),
            reserved_labels=tuple(label.lower() for label in routing.reserved_labels),
        ),
    )


def _place(path: tuple[str, ...], places: Places) -> str:
    """Where a value, or the nearest thing around it, was given."""
    for length in range(len(path), 0, -1):
        if path[:length] in places:
            return places[path[:length]]
    return places.get((), "configuration")


def _host(name: str) -> str:
    return normalise_host(name) if name else ""


def _listeners(config: Config) -> _Problem | None:
    for section in ("listen", "api"):
        listener = getattr(config, section)
        if not 0 <= listener.port <= 65535:
            return (section, "port"), f"{listener.port} is no port; use 0 to 65535"
        if not listener.host.strip():
            return (section, "host"), "must not be empty; use 127.0.0.1, or 0.0.0.0 for all"
    if config.listen.port and config.listen == config.api:
        return ("api", "port"), "the control API must not share the tenants' listener"
    return None


def _plans(config: Config) -> _Problem | None:
    if not config.plans:
        return ("plans",), "must name at least one plan"
    for plan, limits in config.plans.items():
        if not _NAME.fullmatch(plan):
            return ("plans", plan), "a plan's name is lower-case letters, digits, - and _"
        for name, value in asdict(limits).items():
            least = 0 if name in _MAY_BE_ZERO else 1
            if not least <= value < 1 << 31:
                return ("plans", plan, name), f"{value} is out of range; use at least {least}"
    if config.default_plan not in config.plans:
        known = ", ".join(config.plans)
        return ("default_plan",), f"{config.default_plan!r} is not one of the plans: {known}"
    return None


def _processes(config: Config) -> _Problem | None:
    processes = config.server.processes
    if not 1 <= processes <= MOST_PROCESSES:
        return ("server", "processes"), f"{processes} is out of range; use 1 to {MOST_PROCESSES}"
    return None


def _numbers(config: Config) -> _Problem | None:
    least: tuple[tuple[tuple[str, ...], float], ...] = (
        (("queue_seconds",), 0),
        (("http", "connections"), 1),
        (("http", "head_seconds"), 0.001),
        (("http", "idle_seconds"), 0.001),
        (("http", "stall_seconds"), 0.001),
        (("websocket", "idle_seconds"), 0.001),
        (("websocket", "ping_seconds"), 0.001),
        (("routing", "cache_entries"), 1),
        (("routing", "cache_seconds"), 0),
        (("runtime", "startup_cpu_ms"), 1),
        (("runtime", "startup_wall_ms"), 1),
        (("runtime", "compile_cpu_ms"), 0),
        (("egress", "timeout_seconds"), 0.001),
        (("control", "requests"), 0),
        (("audit", "keep_days"), 0),
        (("hostnames", "recheck_seconds"), 0),
        (("rollback", "error_percent"), 0),
        (("rollback", "requests"), 1),
        (("rollback", "seconds"), 1),
        (("control", "operator_requests"), 0),
        (("control", "failures"), 0),
        (("upload", "max_mb"), 1),
        (("upload", "max_modules"), 1),
    )
    for path, minimum in least:
        value: Any = config
        for key in path:
            value = getattr(value, key)
        if not math.isfinite(value) or value < minimum:
            return path, f"{value} is out of range; use at least {minimum}"
    return None


def _hostnames(config: Config) -> _Problem | None:
    for key in ("base_domain", "functions_domain"):
        name = getattr(config.routing, key)
        try:
            plain = _host(name)
        except ValueError as error:
            return ("routing", key), f"{name!r:.80}: {error}"
        if ":" in plain or ":" in name:
            return ("routing", key), f"{name!r:.80}: give a host name without port"
    if config.routing.tenant_header and not _HEADER.fullmatch(config.routing.tenant_header):
        return ("routing", "tenant_header"), "a header name is letters, digits and hyphens"
    return None


def _words(config: Config) -> _Problem | None:
    rules = config.hostnames
    if config.upload.javascript not in JAVASCRIPT:
        return ("upload", "javascript"), f"use one of: {', '.join(JAVASCRIPT)}"
    if rules.verification not in VERIFICATIONS:
        return ("hostnames", "verification"), f"use one of: {', '.join(VERIFICATIONS)}"
    try:
        if rules.resolver:
            split_address(rules.resolver)
    except ValueError as error:
        return ("hostnames", "resolver"), f"not an address such as 192.0.2.1:53: {error}"
    return None


def _networks(config: Config) -> _Problem | None:
    for section, key in (("routing", "trusted_proxies"), ("egress", "allow")):
        for index, cidr in enumerate(getattr(getattr(config, section), key)):
            try:
                ip_network(cidr)
            except ValueError as error:
                return (section, key, str(index)), f"not a network such as 10.0.0.0/8: {error}"
    return None


def _proxy_protocol(config: Config) -> _Problem | None:
    if config.http.proxy_protocol and not config.routing.trusted_proxies:
        reason = "needs routing.trusted_proxies: a header is read from those networks only"
        return ("http", "proxy_protocol"), reason
    return None


def _sandbox(config: Config) -> _Problem | None:
    settings = config.sandbox
    if settings.minimum_level not in MINIMUM_LEVELS:
        return ("sandbox", "minimum_level"), f"use one of: {', '.join(MINIMUM_LEVELS)}"
    if settings.cgroups not in CGROUPS:
        return ("sandbox", "cgroups"), f"use one of: {', '.join(CGROUPS)}"
    if settings.zygote_rotation_seconds and (
        settings.zygote_rotation_seconds < LEAST_ROTATION_SECONDS
    ):
        least = f"use 0 or at least {LEAST_ROTATION_SECONDS}"
        return ("sandbox", "zygote_rotation_seconds"), least
    if not 0 <= settings.memory_mb < 1 << 31:
        return ("sandbox", "memory_mb"), f"{settings.memory_mb} is out of range; use at least 0"
    if not 0 <= settings.spares <= MOST_SPARES:
        return ("sandbox", "spares"), f"{settings.spares} is out of range; use 0 to {MOST_SPARES}"
    return None


def _names(config: Config) -> _Problem | None:
    if not _NAME.fullmatch(config.default_namespace):
        return ("default_namespace",), "a namespace is lower-case letters, digits, - and _"
    if not config.data_dir.strip():
        return ("data_dir",), "must not be empty"
    if not config.secrets.key_file.strip() or "\x00" in config.secrets.key_file:
        return ("secrets", "key_file"), "must name a file, such as secrets.key"
    log = config.access_log.path
    if log.startswith("/") or ".." in log.split("/") or "\x00" in log:
        return ("access_log", "path"), "must lie below the data directory, or be - for stdout"
    return None


_RULES: Final[tuple[Callable[[Config], _Problem | None], ...]] = (
    _listeners,
    _plans,
    _processes,
    _numbers,
    _hostnames,
    _words,
    _networks,
    _proxy_protocol,
    _sandbox,
    _names,
)
