"""What can be wrong with a request about tenants and tokens."""

from __future__ import annotations

from gateway.errors import ControlError


class TenantMissing(ControlError):
    """No such tenant."""

    status = 404
    code = 7003
    word = "tenant_not_found"


class TenantConflict(ControlError):
    """The slug would take over names that another tenant uses."""

    status = 409
    code = 10016
    word = "tenant_conflict"


class BadSlug(ControlError):
    """The slug cannot name a tenant."""

    code = 10016
    word = "bad_slug"


class UnknownPlan(ControlError):
    """The plan is not in routing.yaml."""

    code = 10026
    word = "unknown_plan"


class TokenMissing(ControlError):
    """No such token."""

    status = 404
    code = 7003
    word = "token_not_found"


class LastToken(ControlError):
    """Without this token nobody could administer the node any more."""

    status = 409
    code = 10016
    word = "last_token"
