"""One endpoint: who asks, what they may see, and every failure in the right shape."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.accounts import Principal, Scope
from gateway.accounts.tenants import PLATFORM
from gateway.accounts.tokens import digest_of
from gateway.api.actions import action_of
from gateway.api.errors import (
    BadParameter,
    NoRoute,
    NotAllowed,
    NoWorker,
    PlatformTrouble,
    TokenRejected,
    Unauthenticated,
    Unexpected,
)
from gateway.api.faces import failure
from gateway.api.paths import SCRIPT, WORKER
from gateway.api.services import Services
from gateway.api.trail import SAFE, Trail, recorded
from gateway.catalog.errors import ScriptMissing
from gateway.errors import ControlError, Refusal
from gateway.model.naming import MAX_SLUG, is_label
from gateway.model.script import ScriptKey, TenantStatus
from sandbox import SandboxError

logger = logging.getLogger(__name__)

MAX_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated control request."""

    request: Request
    services: Services
    principal: Principal
    address: str = ""
    """Where the request came from."""
    trail: Trail = field(default_factory=Trail)
    """What the audit log is to say of it beyond what the path says."""

    def path(self, name: str) -> str:
        """A parameter of the path."""
        return str(self.request.path_params[name])

    def query(self, name: str, default: str = "") -> str:
        """A parameter of the query string."""
        return self.request.query_params.get(name, default)

    def count(self, name: str, default: int, *, most: int = MAX_PAGE) -> int:
        """A positive number in the query string, at most ``most``. Raises BadParameter."""
        text = self.query(name, str(default))
        if not text.isascii() or not text.isdigit() or not 1 <= len(text) <= 9 or int(text) < 1:
            raise BadParameter(f"query parameter {name!r} has to be a positive number")
        return min(int(text), most)

    @property
    def scope(self) -> str | None:
        """The only tenant the caller may act for; None for the operator."""
        return self.principal.tenant

    @property
    def account_scope(self) -> str | None:
        """The only tenant to act for on this path: its account id, None for the platform's."""
        account = self.path("account")
        return None if account == PLATFORM else account

    @property
    def script_key(self) -> ScriptKey:
        """The script that the path names, in the default namespace when it names none."""
        default = self.services.config.default_namespace
        namespace = self.request.path_params.get("namespace", default)
        return ScriptKey(str(namespace), self.path("name"))

    def require_operator(self) -> None:
        """Raise NotAllowed unless the operator asks, with a token that may do all to change it."""
        changes = self.request.method not in SAFE
        if not self.principal.is_operator or (changes and not self.principal.may(Scope.ADMIN)):
            raise NotAllowed("only the operator may do this", fix="use the operator's token")

    def require_tenant(self, slug: str) -> None:
        """Raise NotAllowed unless the operator or this tenant asks, whether or not it exists."""
        if not self.principal.is_operator and self.principal.tenant != slug:
            raise NotAllowed(
                f"this token may not see tenant {slug[:80]!r}", fix="use that tenant's token"
            )


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class _Rule:
    """What an endpoint asks of a token."""

    handler: Handler
    action: str
    need: Scope | None
    """None: any token will do, also one for a single script."""
    about_account: bool
    """A token for a single script will do, although the path names none."""


def endpoint(
    services: Services,
    path: str,
    method: str,
    handler: Handler,
    *,
    need: Scope | None = None,
    anyone: bool = False,
    about_account: bool = False,
) -> Route:
    """A route whose handler runs for authenticated callers whose token may do it.

    Without ``need``, reading needs ``read`` and everything else ``deploy``.
    """
    usual = Scope.READ if method in SAFE else Scope.DEPLOY
    rule = _Rule(handler, action_of(method, path), None if anyone else need or usual, about_account)

    async def serve(request: Request) -> Response:
        return await answer(request, lambda: _run(services, request, rule))

    serve.__doc__ = handler.__doc__
    return Route(path, serve, methods=[method], name=rule.action)


def on_script(services: Services, suffix: str, method: str, handler: Handler) -> list[Route]:
    """Routes of one resource of a script, at both of its addresses."""
    return [endpoint(services, f"{base}{suffix}", method, handler) for base in (SCRIPT, WORKER)]


async def answer(request: Request, work: Callable[[], Awaitable[Response]]) -> Response:
    """The answer of ``work``, or its failure in the shape of the path."""
    path = request.url.path
    try:
        return await work()
    except ControlError as error:
        return failure(path, error)
    except Refusal as error:
        logger.error("platform failed a control request", extra={"path": path, "why": error.detail})
        return failure(
            path, PlatformTrouble(f"the platform failed: {error.detail}", fix="try again later")
        )
    except SandboxError as error:
        logger.exception("sandbox failed a control request", extra={"path": path})
        return failure(path, PlatformTrouble(f"the sandbox failed: {error}", fix="try again later"))
    except ClientDisconnect:
        return Response(status_code=400)
    except Exception:
        logger.exception("control request failed", extra={"path": path, "method": request.method})
        return failure(
            path, Unexpected("internal error", fix="look into the node's log, report the defect")
        )


async def _run(services: Services, request: Request, rule: _Rule) -> Response:
    address = services.address_of(request)
    principal = await _authenticate(services, request, address)
    call = Call(request, services, principal, address)
    if "account" in request.path_params:
        await _check_account(call)

    async def work() -> Response:
        _check_scope(call, rule)
        if principal.tenant is not None and request.method not in SAFE:
            await _check_active(services, principal.tenant)
        return await rule.handler(call)

    try:
        if request.method in SAFE:
            return await work()
        return await recorded(call, rule.action, work)
    except ScriptMissing as error:
        if "namespace" in request.path_params:
            raise
        # the code by which wrangler knows that a Worker has still to be created
        raise NoWorker(error.message, fix=error.fix) from None


def _check_scope(call: Call, rule: _Rule) -> None:
    """Raise NotAllowed unless the token's scope, and its script, allow this."""
    who = call.principal
    if rule.need is None:
        return
    if not who.may(rule.need):
        raise NotAllowed(
            f"this needs a token of scope {rule.need}, and this one has {who.scope}",
            fix=f"create one: waypost tokens create {who.tenant or '--operator'}"
            f" --scope {rule.need}",
        )
    named = call.request.path_params.get("name")
    if who.script is not None and named != who.script and not rule.about_account:
        raise NotAllowed(
            f"this token is for script {who.script!r} only", fix="use a token of the tenant's"
        )


async def _authenticate(services: Services, request: Request, address: str) -> Principal:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        # what clients send that were given a key instead of a token
        token = request.headers.get("x-auth-key", "")
    if not token.strip():
        raise Unauthenticated(
            "a bearer token is needed", fix="send the header Authorization: Bearer wp_…"
        )
    token = token.strip()
    digest = digest_of(token)
    services.guard.check_address(address, digest)
    principal = await services.tokens.authenticate(token)
    if principal is None:
        services.guard.failed(address)
        raise TokenRejected("the bearer token is not valid", fix="use a token of this platform")
    services.guard.check_token(principal, address, digest)
    return principal


async def _check_account(call: Call) -> None:
    account = call.path("account")
    if call.principal.tenant is not None:
        if call.principal.tenant != account:
            raise TokenRejected(
                f"this token is not for account {account[:80]!r}",
                fix=f"use account {call.principal.tenant}",
            )
    elif account != PLATFORM and not is_label(account, longest=MAX_SLUG):
        raise NoRoute(
            f"there is no account {account[:80]!r}", fix=f"use {PLATFORM} or a tenant's slug"
        )


async def _check_active(services: Services, slug: str) -> None:
    tenant = await services.tenants.get(slug)
    if tenant.status is TenantStatus.SUSPENDED:
        raise NotAllowed(f"tenant {slug!r} is suspended", fix="ask the operator")
