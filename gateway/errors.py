"""The gateway's error tree: what ends a request (or a control call) short of success.

WaypostError
├── StartFailed               a version's code could not be loaded in the jail
│   └── StartLost             … because its process was killed from outside
├── StaleRoute                the route's version is gone; look it up again
│   └── NeverSent             … or its instance is, before it was sent the request
├── Elsewhere                 another process of this node serves the script
├── ConfigError               routing.yaml or the environment is wrong; names file and line
├── Refusal                   a request that gets an error page: status, code, outcome, fault
│   ├── BadRequest            400 / 405 / 408 / 413 / 414 / 426 / 431 / 501, the client's fault
│   ├── NotConfigured         404, nobody answers to this hostname
│   ├── ScriptNotFound        404, the route names a script that is not there
│   ├── Suspended             403, the operator's kill switch
│   ├── LoopDetected          508, workers that fetch each other without end
│   ├── LoadShed              503 + Retry-After, too much is waiting
│   ├── StillRunning          503, a schedule is due whose last call is not over
│   ├── LimitExceeded         503 / 504, one of the plan's limits
│   ├── TenantFailed          50x, the tenant's code raised, crashed or answered nonsense
│   └── PlatformFailed        503, ours
│       └── InstanceLost      … with Retry-After: a process of ours took the instance along
├── ControlError              a control request that cannot be done; rooms name their own below it
│   └── StoreTrouble          503, the disk is full, or another program holds the store
└── ClientDisconnected        the client went away; nobody to answer
"""

from __future__ import annotations

from typing import ClassVar

from sandbox import Outcome
from sandbox.payloads import ExceptionRecord, Failed


class WaypostError(Exception):
    """Root of everything the gateway raises on purpose."""


class ConfigError(WaypostError):
    """The configuration is wrong; the message says what, where and what to do."""


class StartFailed(WaypostError):
    """A version's code could not be loaded; ``failed`` is what the instance, or its end, said."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(f"{failed.name}: {failed.message}")
        self.failed = failed


class StartLost(StartFailed):
    """The process was killed while it loaded, by nobody here: another may well load."""


class StaleRoute(WaypostError):
    """The route's version has been replaced since it was looked up: look it up again."""


class NeverSent(StaleRoute):
    """The instance ended before the request was on its wire: another can serve it."""


class Elsewhere(WaypostError):
    """Another process of this node serves the script: what is asked belongs there."""

    def __init__(self, place: int) -> None:
        super().__init__(f"process {place}")
        self.place = place


class ClientDisconnected(WaypostError):
    """The client closed its connection."""


class ControlError(WaypostError):
    """A control request that cannot be done. ``str()`` says what is wrong, ``fix`` what to do."""

    status: ClassVar[int] = 400
    code: ClassVar[int] = 10026
    """Number in Cloudflare's envelope."""
    word: ClassVar[str] = "bad_request"
    """Stable code of our own error shape."""

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class StoreTrouble(ControlError):
    """The store cannot be read or written now; the message says why. Nothing was changed."""

    status = 503
    code = 10013
    word = "store"


class Refusal(WaypostError):
    """A request that ends in an error page."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    outcome: ClassVar[Outcome] = Outcome.INTERNAL_ERROR
    fault: ClassVar[str] = "platform"
    title: ClassVar[str] = "Internal error"
    retry_after_seconds: int | None = None
    cut_outcome: ClassVar[Outcome | None] = None
    """The outcome when the client had a part of the answer already; None: the same."""
    record: ExceptionRecord | None = None
    """What the tenant's tail shows as its cause, where no code of the invocation has said so."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class BadRequest(Refusal):
    """The request itself is wrong."""

    status = 400
    code = "bad_request"
    outcome = Outcome.UNKNOWN
    fault = "client"
    title = "Bad request"


class BodyTooLarge(BadRequest):
    """The request body is longer than the plan allows."""

    status = 413
    code = "body_too_large"
    title = "Request body too large"


class UrlTooLong(BadRequest):
    """The URL is longer than 16 KiB."""

    status = 414
    code = "url_too_long"
    title = "URL too long"


class HeadersTooLarge(BadRequest):
    """The request headers are larger than 128 KiB in total."""

    status = 431
    code = "headers_too_large"
    title = "Request headers too large"


class MethodNotAllowed(BadRequest):
    """The method is one that no tenant may be asked with."""

    status = 405
    code = "method_not_allowed"
    title = "Method not allowed"


class RequestTimeout(BadRequest):
    """The client began a request and did not go on."""

    status = 408
    code = "request_timeout"
    title = "Request timeout"


class UpgradeRequired(BadRequest):
    """The client asks for a WebSocket in a version other than 13."""

    status = 426
    code = "upgrade_required"
    title = "Upgrade required"


class NoWebSockets(BadRequest):
    """The worker is of a kind that cannot serve WebSockets."""

    status = 501
    code = "no_websockets"
    title = "No WebSockets here"


class NotConfigured(Refusal):
    """No route leads from this hostname to a script."""

    status = 404
    code = "hostname_not_configured"
    outcome = Outcome.SCRIPT_NOT_FOUND
    fault = "client"
    title = "Hostname not configured"


class ScriptNotFound(Refusal):
    """The hostname leads to a script that does not exist."""

    status = 404
    code = "script_not_found"
    outcome = Outcome.SCRIPT_NOT_FOUND
    fault = "tenant"
    title = "Script not found"


class Suspended(Refusal):
    """The operator has suspended this tenant."""

    status = 403
    code = "suspended"
    outcome = Outcome.KILL_SWITCH
    fault = "platform"
    title = "Suspended"


class LoopDetected(Refusal):
    """The request has gone through too many workers already."""

    status = 508
    code = "1019"
    outcome = Outcome.EXCEPTION
    fault = "tenant"
    title = "Workers fetch each other in a loop"


class LoadShed(Refusal):
    """Too many requests wait already."""

    status = 503
    code = "load_shed"
    outcome = Outcome.LOAD_SHED
    fault = "limit"
    title = "Too busy"
    retry_after_seconds = 1


class StillRunning(Refusal):
    """A schedule is due whose last call is not over."""

    status = 503
    code = "still_running"
    outcome = Outcome.LOAD_SHED
    fault = "tenant"
    title = "Still running"


class LimitExceeded(Refusal):
    """One of the plan's limits ended the invocation."""

    status = 503
    code = "1102"
    fault = "limit"
    title = "Worker exceeded resource limits"


class CpuExceeded(LimitExceeded):
    """The invocation used up its CPU time."""

    outcome = Outcome.EXCEEDED_CPU
    title = "Worker exceeded CPU time limit"


class MemoryExceeded(LimitExceeded):
    """The instance used up its memory."""

    outcome = Outcome.EXCEEDED_MEMORY
    title = "Worker exceeded memory limit"


class WallTimeExceeded(LimitExceeded):
    """The invocation took too long."""

    status = 504
    code = "wall_time"
    outcome = Outcome.EXCEEDED_WALL_TIME
    title = "Worker exceeded wall time limit"


class TenantFailed(Refusal):
    """The tenant's code raised, or its process died."""

    status = 500
    code = "1101"
    outcome = Outcome.EXCEPTION
    fault = "tenant"
    title = "Worker threw an exception"


class WorkerDied(TenantFailed):
    """The tenant's process ended by itself, or crashed."""

    cut_outcome = Outcome.RESPONSE_STREAM_DISCONNECTED


class WorkerBackedOff(TenantFailed):
    """The tenant's code did not start or keeps dying; it is started again after a pause."""

    status = 503
    code = "backoff"
    title = "Worker keeps failing"

    def __init__(self, detail: str, retry_after_seconds: int) -> None:
        super().__init__(f"{detail} It is started again in {retry_after_seconds} s.")
        self.retry_after_seconds = retry_after_seconds


class NoRuntime(TenantFailed):
    """The worker is stored only: it is JavaScript, which this node has no runtime for."""

    status = 501
    code = "no_runtime"
    title = "No runtime for this worker"


class BadResponse(TenantFailed):
    """The tenant's code answered with something that is not HTTP."""

    status = 502
    code = "bad_response"
    title = "Worker sent an invalid response"


class ProtocolViolation(TenantFailed):
    """The instance broke the wire protocol."""

    status = 502
    code = "protocol"
    outcome = Outcome.INTERNAL_ERROR
    title = "Worker broke the platform's protocol"


class PlatformFailed(Refusal):
    """The platform could not run the script."""

    status = 503
    code = "platform"
    outcome = Outcome.INTERNAL_ERROR
    fault = "platform"
    title = "The platform could not run this worker"


class InstanceLost(PlatformFailed):
    """The instance ended with the process of ours that it was made from."""

    retry_after_seconds = 1
