"""Tails that clients asked for and listen to at an address of its own each.

Whoever knows the address may listen: it has a secret in it, because Cloudflare's clients send no
token along. It is good for one listener at a time, and for a while only.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Final

from gateway.errors import WaypostError
from gateway.model.script import ScriptKey
from gateway.store.base import StoredToken
from gateway.telemetry.filters import Filters

MAX_PER_SCRIPT: Final = 10
MAX_PER_ACCOUNT: Final = 50
MAX_OPEN: Final = 1000
"""On this node."""
SECONDS: Final = 6 * 3600.0
"""How long a tail lasts."""
UNUSED_SECONDS: Final = 60.0
"""How long a tail lasts that nobody listens to: clients that were killed leave theirs behind."""


class SessionsFull(WaypostError):
    """As many tails are open as there may be."""


class Session:
    """One tail."""

    def __init__(self, key: ScriptKey, tenant: str, token: StoredToken, filters: Filters) -> None:
        self.id = uuid.uuid4().hex
        self.secret = secrets.token_urlsafe(32)
        self.key = key
        self.tenant = tenant
        self.token = token
        """What it was made with; its tenant is whose tail this is."""
        self.filters = filters
        self.expires_ms = 0
        self.sent_away = False
        """Whoever listens may not any more."""
        self.heard = False
        """Somebody has listened."""
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why it is over."""
        self.listener: asyncio.Future[None] | None = None
        """Done when the one who listens has to make room for another."""

    def end(self, why: str) -> None:
        """Let nobody listen any more."""
        if not self.ended.done():
            self.ended.set_result(why)


class Sessions:
    """The open tails of this node. ``clock`` tells seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._open: dict[str, Session] = {}
        self._unused: dict[str, float] = {}
        """Since when nobody listens."""

    def create(self, session: Session) -> None:
        """Open it. Raises SessionsFull."""
        self._sweep()
        # The operator's are counted by themselves: no tenant can take their places.
        account = session.token.tenant
        mine = [one for one in self._open.values() if one.token.tenant == account]
        same = [one for one in mine if one.key == session.key]
        if len(same) >= MAX_PER_SCRIPT and not self._make_room(same):
            raise SessionsFull(f"{MAX_PER_SCRIPT} tails of this script are open already")
        if len(mine) >= MAX_PER_ACCOUNT and not self._make_room(mine):
            raise SessionsFull(f"{MAX_PER_ACCOUNT} tails of this account are open already")
        if len(self._open) >= MAX_OPEN and account is not None:
            raise SessionsFull(f"{MAX_OPEN} tails are open on this node; try again later")
        now = self._clock()
        session.expires_ms = int((now + SECONDS) * 1000)
        self._open[session.id] = session
        self._unused[session.id] = now

    def _make_room(self, among: Sequence[Session]) -> bool:
        """End one that was left: wrangler, interrupted, does not get to delete its own."""
        left = [one for one in among if one.heard and one.id in self._unused]
        if left:
            self.end(min(left, key=lambda one: self._unused[one.id]), "nobody listened to the tail")
        return bool(left) or any(one.ended.done() for one in among)

    def list(self, key: ScriptKey, tenant: str) -> list[Session]:
        """The open tails of a script."""
        self._sweep()
        return [one for one in self._open.values() if (one.key, one.tenant) == (key, tenant)]

    def get(self, session_id: str) -> Session | None:
        """An open tail."""
        self._sweep()
        return self._open.get(session_id)

    def unlock(self, session_id: str, secret: str) -> Session | None:
        """An open tail, for whoever knows its secret."""
        session = self.get(session_id)
        given = secret.encode("utf-8", "surrogatepass")
        known = session.secret if session else secrets.token_urlsafe(32)
        return session if hmac.compare_digest(known.encode(), given) else None

    def enter(self, session: Session) -> asyncio.Future[None]:
        """Listen; done when another listens instead."""
        if session.listener is not None and not session.listener.done():
            session.listener.set_result(None)
        session.listener = asyncio.get_running_loop().create_future()
        session.heard = True
        self._unused.pop(session.id, None)
        return session.listener

    def leave(self, session: Session, listener: asyncio.Future[None]) -> None:
        """Listen no more; the tail stays a while for whoever comes back."""
        if session.listener is listener and session.id in self._open:
            session.listener = None
            self._unused[session.id] = self._clock()

    def end(self, session: Session, why: str) -> None:
        """Close it."""
        self._open.pop(session.id, None)
        self._unused.pop(session.id, None)
        session.end(why)

    def is_over(self, session: Session) -> bool:
        """Whether its time is up, or it was closed."""
        self._expire(session)
        return session.ended.done()

    def _expire(self, session: Session) -> None:
        if self._clock() * 1000 >= session.expires_ms:
            self.end(session, "the tail has expired")

    def _sweep(self) -> None:
        now = self._clock()
        for session in list(self._open.values()):
            self._expire(session)
            since = self._unused.get(session.id)
            if since is not None and now - since >= UNUSED_SECONDS:
                self.end(session, "nobody listened to the tail")
