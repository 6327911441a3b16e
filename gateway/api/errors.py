"""What can be wrong with a control request before any use-case sees it."""

from __future__ import annotations

from gateway.errors import ControlError


class Unauthenticated(ControlError):
    """No bearer token came along."""

    status = 401
    code = 10000
    word = "unauthenticated"


class TokenRejected(ControlError):
    """The bearer token is nobody's, or not this account's."""

    status = 403
    code = 9109
    word = "token_rejected"


class NotAllowed(ControlError):
    """Only the operator may do this, or the tenant is suspended."""

    status = 403
    code = 10015
    word = "not_allowed"


class NoRoute(ControlError):
    """No such path, account or resource."""

    status = 404
    code = 7003
    word = "not_found"


class NoWorker(ControlError):
    """No such script, asked for without a namespace."""

    status = 404
    code = 10007
    word = "script_not_found"


class NotAvailable(ControlError):
    """One of Cloudflare's products that this platform does not have."""

    status = 404
    code = 7003
    word = "not_available"


class WrongMethod(ControlError):
    """The path exists, the method does not."""

    status = 405
    code = 10405
    word = "method_not_allowed"


class BadBody(ControlError):
    """The body cannot be read."""

    code = 10026
    word = "bad_body"


class BodyTooLong(ControlError):
    """The body is longer than the resource takes."""

    status = 413
    code = 10027
    word = "body_too_long"


class BadParameter(ControlError):
    """A query parameter makes no sense."""

    code = 10026
    word = "bad_parameter"


class TooManyRequests(ControlError):
    """The token, or the address, asks more often than it may."""

    status = 429
    code = 10429
    word = "rate_limited"

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message, fix=f"wait {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


class TooManyFailures(TooManyRequests):
    """Too many tokens that are nobody's came from one address."""

    word = "too_many_failures"


class UploadTooSlow(ControlError):
    """The body of an upload took longer than it may hold its place."""

    status = 408
    code = 10026
    word = "upload_too_slow"


class TooManyTails(ControlError):
    """Too many listen to live events already."""

    status = 429
    code = 10035
    word = "too_many_tails"


class TailMissing(ControlError):
    """No such tail, or one that is over."""

    status = 404
    code = 7003
    word = "tail_not_found"


class UpgradeNeeded(ControlError):
    """What is at this path is spoken over WebSocket."""

    status = 426
    code = 10026
    word = "upgrade_required"


class PlatformTrouble(ControlError):
    """Ours: the platform could not do it."""

    status = 503
    code = 10013
    word = "platform"


class Unexpected(ControlError):
    """Ours: a defect; the log has the details."""

    status = 500
    code = 10013
    word = "internal"
