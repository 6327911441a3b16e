"""How often a request has gone through workers already, so that a loop of subrequests ends.

The count travels in a platform field of the subrequest. It is signed: clients cannot make a worker
look like a loop, and neither can what a subrequest reaches.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from gateway.model.http import MAX_HOPS
from gateway.store.base import KeyValueStore

HEADER: Final = b"waypost-hops"
"""The field; clients' own is dropped with the other platform fields, tenants' too."""
_KEY: Final = "hops:key"
SCOPE_KEY: Final = "waypost.hops"
"""Where the count stands in the ASGI scope of a subrequest that never left the node."""


class Hops:
    """Writes and reads the field with one key, which all nodes of a platform share."""

    @classmethod
    async def of(cls, store: KeyValueStore) -> Hops:
        """With the store's key, which is made when there is none."""
        key = await store.get(_KEY)
        if key is None:
            await store.put(_KEY, secrets.token_bytes(32))
            # Another process may have been faster: what is stored counts.
            key = await store.get(_KEY)
        return cls(key or secrets.token_bytes(32))

    def __init__(self, key: bytes) -> None:
        self._written = [_signed(key, count) for count in range(MAX_HOPS + 1)]
        self._read = {field: count for count, field in enumerate(self._written)}

    def write(self, count: int) -> bytes:
        """The field's value of a request that went through so many workers."""
        return self._written[min(count, MAX_HOPS)]

    def read(self, value: bytes) -> int:
        """The count that a field says; 0 when it was not written with our key."""
        return self._read.get(value, 0)


def _signed(key: bytes, count: int) -> bytes:
    text = b"%d" % count
    return text + b"." + hmac.new(key, HEADER + text, hashlib.sha256).hexdigest()[:32].encode()
