"""Why a subrequest got no answer, in words for the tenant's code."""

from __future__ import annotations

import ssl
from typing import Final

import httpcore

from gateway.bindings.egress import ConnectFailed, DnsFailed, EgressDenied
from gateway.errors import WaypostError

_MAX_MESSAGE: Final = 500


class OutboundError(WaypostError):
    """A subrequest got no answer. ``code`` is stable, ``message`` is for the tenant.

    Codes: ``bad_url``, ``bad_request``, ``egress_denied``, ``dns_failed``, ``connect_failed``,
    ``tls_failed``, ``timeout``, ``too_many_redirects``, ``redirect``, ``protocol_error``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message[:_MAX_MESSAGE]


_CODES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (EgressDenied, "egress_denied"),
    (DnsFailed, "dns_failed"),
    (ConnectFailed, "connect_failed"),
    (httpcore.TimeoutException, "timeout"),
    # Our own backend says what went wrong with a connection: what is left is TLS.
    (httpcore.ConnectError, "tls_failed"),
    (httpcore.LocalProtocolError, "bad_request"),
)


def outbound_error(error: Exception, host: str) -> OutboundError:
    """Say what an error of the transport means to the tenant, who asked for ``host``."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), "protocol_error")
    if code in ("egress_denied", "dns_failed", "connect_failed"):
        return OutboundError(code, str(error))
    if code == "timeout":
        return OutboundError(code, f"{host} did not answer in time")
    if code == "tls_failed":
        return OutboundError(code, f"{host}: no TLS connection{_why_untrusted(error)}")
    if code == "bad_request":
        return OutboundError(code, f"the request to {host} is not valid HTTP: {error}")
    return OutboundError(code, f"{host} broke off or answered with something that is not HTTP")


def _why_untrusted(error: BaseException | None) -> str:
    """What was wrong with the certificate, found among what led to this error."""
    for _ in range(8):
        if error is None:
            break
        if isinstance(error, ssl.SSLCertVerificationError):
            return f": {error.verify_message}"
        error = error.__cause__ or error.__context__
    return ""
