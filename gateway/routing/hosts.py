"""Host names as clients send them, brought to the one form that is looked up.

Rules: RFC 3986 §3.2.2 (host and port), RFC 1123 §2.1 (letters, digits, hyphens), RFC 5891 with
UTS 46 mapping (internationalised names).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import Final

import idna

MAX_HOST: Final = 253
"""Longest host name, characters."""
MAX_RAW: Final = 1024
"""Longest Host header looked at, characters; an internationalised name shrinks when mapped."""
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_SCRIPT_LABEL: Final = re.compile(_LABEL)
_PORT: Final = re.compile(r"[0-9]{1,5}")


def split_host_port(raw: str) -> tuple[str, int | None]:
    """Split ``host``, ``host:port`` or ``[v6]:port``; the brackets stay on the host.

    An empty port (``host:``) is no port. Raises ValueError when the port is not one.
    """
    if raw.startswith("["):
        host, bracket, rest = raw.partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("host: an IPv6 address must look like [::1] or [::1]:80")
        host, port = host + bracket, rest[1:]
    else:
        host, _, port = raw.partition(":")
    if not port:
        return host, None
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise ValueError("host: the port must be a number from 0 to 65535")
    return host, int(port)


@lru_cache(maxsize=16_384)
def normalise_host(raw: str) -> str:
    """Bring a Host header to the form in which hostnames are stored.

    Port and one trailing dot removed, lower case, A-labels, IPv6 compressed and without brackets.
    Raises ValueError when it is no host name; failures are not cached, so that nonsense cannot
    push good names out.
    """
    if len(raw) > MAX_RAW:
        raise ValueError(f"host: longer than {MAX_RAW} characters")
    host, _ = split_host_port(raw)
    if host.startswith("["):
        return _ipv6(host[1:-1])
    if not host.isascii() or "xn--" in (lowered := host.lower()):
        lowered = _to_a_labels(host)
    lowered = lowered.removesuffix(".")
    if len(lowered) > MAX_HOST or not _NAME.fullmatch(lowered):
        raise ValueError("host: not a host name (letters, digits and hyphens, 63 to a label)")
    return lowered


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except AddressValueError:
        raise ValueError("host: not an IPv6 address") from None
    if address.scope_id is not None:
        raise ValueError("host: an address with a zone is not a host name")
    return address.compressed


def _to_a_labels(host: str) -> str:
    try:
        return idna.encode(host, uts46=True, std3_rules=True).decode("ascii")
    except UnicodeError as error:
        # idna.IDNAError is a UnicodeError, and so are the codec's own complaints.
        raise ValueError(f"host: not an internationalised host name: {error}") from None


def label_below(host: str, base_domain: str) -> str | None:
    """The one label that ``host`` adds in front of ``base_domain``; None when it is not like that.

    Both must be normalised.
    """
    if not base_domain or not host.endswith(base_domain):
        return None
    prefix = host[: -len(base_domain)]
    if len(prefix) < 2 or prefix[-1] != "." or "." in prefix[:-1]:
        return None
    return prefix[:-1]


def is_script_label(label: str, reserved: Collection[str] = ()) -> bool:
    """Whether a label may name a script: lower-case letters, digits, single inner hyphens, ≤ 63."""
    return (
        _SCRIPT_LABEL.fullmatch(label) is not None and "--" not in label and label not in reserved
    )
