"""Tails as ``wrangler tail`` and Cloudflare's SDKs open them: asked for, then read over WebSocket.

The messages are TraceItems in JSON, one a message (subprotocol ``trace-v1``).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from gateway.accounts import Scope
from gateway.api.body import read_json
from gateway.api.endpoint import Call, answer, endpoint
from gateway.api.errors import BadBody, BadParameter, TailMissing, TooManyTails, UpgradeNeeded
from gateway.api.faces import CLOUDFLARE_PREFIX, envelope
from gateway.api.paths import SCRIPT, WORKER
from gateway.api.present import timestamp
from gateway.api.services import Services, TailSubscription
from gateway.errors import ControlError, WaypostError
from gateway.model.websocket import OPEN_SOCKET, Opener, Part, Socket
from gateway.telemetry.endings import EXPIRED, REVOKED
from gateway.telemetry.filters import MAX_FILTERS, Filters, TailFilter
from gateway.telemetry.sessions import Session, SessionsFull
from gateway.telemetry.trace import overload_item
from sandbox.payloads import Close

PROTOCOL: Final = "trace-v1"
PATH: Final = f"{CLOUDFLARE_PREFIX}/tails/{{tail}}"
CHECK_SECONDS: Final = 10.0
"""How often it is looked whether whoever listens still may."""
STALL_SECONDS: Final = 20.0
"""How long a listener may read nothing of what waits for it."""
MAX_SAID: Final = 1000
"""Messages that a listener may send: there is nothing to say."""
MAX_MESSAGE: Final = 4096
_DONE: Final = 1000
_GOING_AWAY: Final = 1001
_NOT_WELCOME: Final = 1008
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")


class NewTail(msgspec.Struct):
    """Body of a POST."""

    filters: list[TailFilter] = []


def routes(services: Services) -> list[Route]:
    """The paths of this file."""
    return [
        *(
            route
            for base in (SCRIPT, WORKER)
            for route in (
                endpoint(services, f"{base}/tails", "POST", _create, need=Scope.TAIL),
                endpoint(services, f"{base}/tails", "GET", _list, need=Scope.TAIL),
                endpoint(services, f"{base}/tails/{{tail}}", "DELETE", _delete, need=Scope.TAIL),
            )
        ),
        Route(PATH, _socket(services), methods=["GET"], name="tail.listen"),
    ]


async def _create(call: Call) -> Response:
    """The secret of the tail is in its address, and shown to the token that made it only."""
    script = await call.services.scripts.get(call.script_key, scope=call.account_scope)
    body = await read_json(call.request, NewTail, optional=True)
    if len(body.filters) > MAX_FILTERS:
        raise BadBody(f"a tail may have {MAX_FILTERS} filters", fix="leave some out")
    filters = Filters(body.filters, call.address)
    token = await call.services.tokens.get(call.scope, call.principal.token_id)
    session = Session(script.key, script.tenant, token, filters)
    try:
        call.services.sessions.create(session)
    except SessionsFull as error:
        raise TooManyTails(str(error), fix="close another tail first") from None
    _watch_over(call.services, session)
    call.trail.detail["tail"] = session.id
    return envelope(_shown(call, session))


def _watch_over(services: Services, session: Session) -> None:
    """Let the tail end with its token, its script and its tenant."""
    watch = services.endings.watch(
        token_id=session.token.id,
        expires_ms=session.token.expires_ms,
        tenant=session.tenant,
        script=session.key.name,
        namespace=session.key.namespace,
    ).__enter__()

    def end(why: asyncio.Future[str]) -> None:
        session.sent_away = why.result() in (REVOKED, EXPIRED)
        services.sessions.end(session, why.result())

    watch.ended.add_done_callback(end)
    session.ended.add_done_callback(lambda _: watch.close())


async def _list(call: Call) -> Response:
    script = await call.services.scripts.get(call.script_key, scope=call.account_scope)
    found = call.services.sessions.list(script.key, script.tenant)
    return envelope([_shown(call, session) for session in found])


async def _delete(call: Call) -> Response:
    script = await call.services.scripts.get(call.script_key, scope=call.account_scope)
    session = call.services.sessions.get(call.path("tail"))
    if session is None or (session.key, session.tenant) != (script.key, script.tenant):
        raise _missing()
    call.trail.detail["tail"] = session.id
    call.services.sessions.end(session, "the tail was deleted")
    return envelope(None)


def _shown(call: Call, session: Session) -> dict[str, Any]:
    url = f"{_origin(call)}{PATH.format(tail=session.id)}"
    if session.token.id == call.principal.token_id:
        url += f"?secret={session.secret}"
    return {"id": session.id, "url": url, "expires_at": timestamp(session.expires_ms)}


def _origin(call: Call) -> str:
    """Where the client reached us; it is told to nobody else."""
    scheme, host = call.services.origin_of(call.request)
    if _HOST.fullmatch(host) is None:
        listen = call.services.config.api
        host = f"[{listen.host}]" if ":" in listen.host else listen.host
        host = f"{host}:{listen.port}"
    return f"{'wss' if scheme == 'https' else 'ws'}://{host}"


def _missing() -> TailMissing:
    return TailMissing("there is no such tail (any more)", fix="open one: POST …/tails")


# Listening


def _socket(services: Services) -> Callable[[Request], Awaitable[Response]]:
    async def listen(request: Request) -> Response:
        """Listen to a tail over WebSocket; its address is all that is needed."""
        return await answer(request, lambda: _listen(services, request))

    return listen


async def _listen(services: Services, request: Request) -> Response:
    address = services.address_of(request)
    services.guard.check_address(address, "")
    session = services.sessions.unlock(
        request.path_params["tail"], request.query_params.get("secret", "")
    )
    if session is None:
        services.guard.failed(address)
        raise _missing()
    opener: Opener | None = request.scope.get(OPEN_SOCKET)
    if opener is None:
        raise UpgradeNeeded("a tail is read over WebSocket", fix="open it as a WebSocket")
    if opener.protocols and PROTOCOL.encode() not in opener.protocols:
        raise BadParameter(f"tails speak {PROTOCOL}", fix=f"offer the subprotocol {PROTOCOL}")
    try:
        subscribing = services.tail.subscribe(
            namespace=session.key.namespace,
            script=session.key.name,
            tenant=session.tenant,
            wanted=session.filters,
        )
    except WaypostError as error:
        raise TooManyTails(str(error), fix="close another tail first") from None
    return _Listening(Listener(services, session, opener), subscribing)


class _Listening(Response):
    """The answer that becomes a WebSocket and lasts as long as it does."""

    def __init__(self, listener: Listener, subscribing: Any) -> None:
        super().__init__()
        self._listener = listener
        self._subscribing = subscribing

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        try:
            async with self._subscribing as subscription:
                await self._listener.run(subscription)
        except WaypostError:
            # The last place was taken since it was asked for.
            self._listener.refuse()


class Listener:
    """One client that listens to a tail."""

    def __init__(self, services: Services, session: Session, opener: Opener) -> None:
        self._services = services
        self._session = session
        self._opener = opener

    def refuse(self) -> None:
        """Say that there is no room."""
        self._open().close(_NOT_WELCOME, "too many listen already")

    async def run(self, subscription: TailSubscription) -> None:
        """Pass on events until either end has had enough, and say why."""
        sessions, session = self._services.sessions, self._session
        replaced = sessions.enter(session)
        socket = self._open()
        tasks = {
            asyncio.ensure_future(work)
            for work in (_write(socket, subscription), _read(socket), self._watch())
        }
        try:
            either: set[asyncio.Future[Any]] = {*tasks, replaced}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            code, why = _GOING_AWAY, "another client listens to this tail now"
            for task in tasks:
                if task.done():
                    code, why = task.result()
            socket.close(code, why)
        finally:
            sessions.leave(session, replaced)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _open(self) -> Socket:
        protocol = PROTOCOL if self._opener.protocols else ""
        # wrangler sends its first message unmasked, against RFC 6455.
        return self._opener.open(protocol, MAX_MESSAGE, masked=False)

    async def _watch(self) -> tuple[int, str]:
        """Return when the tail is over, or the token it was made with is not good any more."""
        session = self._session
        while not self._services.sessions.is_over(session):
            await asyncio.wait({session.ended}, timeout=CHECK_SECONDS)
            if not session.ended.done() and not await self._may_go_on():
                session.sent_away = True
                self._services.sessions.end(session, REVOKED)
        return _NOT_WELCOME if session.sent_away else _DONE, session.ended.result()

    async def _may_go_on(self) -> bool:
        session = self._session
        if not await self._services.tokens.is_good(session.token):
            return False
        try:
            script = await self._services.scripts.get(session.key, scope=session.tenant)
        except ControlError:
            return True  # deleted: it may come again
        return script.tenant == session.tenant


async def _write(socket: Socket, subscription: TailSubscription) -> tuple[int, str]:
    told = 0
    async for item in subscription:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                if subscription.dropped > told:
                    told = subscription.dropped
                    await socket.send(Part(True, overload_item(told), True))
                await socket.send(Part(True, item, True))
        except TimeoutError:
            return _NOT_WELCOME, "this tail is read too slowly"
    return _GOING_AWAY, "the node stops"


async def _read(socket: Socket) -> tuple[int, str]:
    """What clients say here means nothing."""
    for _ in range(MAX_SAID):
        if isinstance(await socket.receive(), Close):
            return _DONE, ""
    return _NOT_WELCOME, "a tail is for listening"
