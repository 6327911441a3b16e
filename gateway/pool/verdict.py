"""What an end or a limit means: to the client, in the tenant's tail, to who uploads the script."""

from __future__ import annotations

import time

from gateway.errors import (
    CpuExceeded,
    InstanceLost,
    MemoryExceeded,
    Refusal,
    TenantFailed,
    WallTimeExceeded,
    WorkerDied,
)
from gateway.model.plan import Limits
from gateway.pool.exchange import Exchange, as_refusal
from sandbox import Outcome, ProtocolError
from sandbox.payloads import ExceptionRecord, Failed


def cpu_exceeded(limits: Limits) -> CpuExceeded:
    """The page of a request that burnt its CPU budget."""
    return CpuExceeded(
        f"The worker used more than the {limits.cpu_ms} ms of CPU time that its plan allows."
    )


def memory_exceeded(limits: Limits) -> MemoryExceeded:
    """The page of a request that used up the instance's memory."""
    return MemoryExceeded(
        f"The worker used more than the {limits.memory_mb} MB of memory that its plan allows."
    )


def wall_time_exceeded(limits: Limits) -> WallTimeExceeded:
    """The page of a request that took too long."""
    return WallTimeExceeded(
        f"The worker took longer than the {limits.wall_ms} ms that its plan allows."
    )


def instance_lost() -> InstanceLost:
    """The page of a request that was in an instance when its zygote ended."""
    return InstanceLost("The platform lost the worker's process.")


def of_exception(limits: Limits, record: ExceptionRecord, tripped: Outcome | None) -> Refusal:
    """What came of an exception in a process of which a limit ``tripped``, or none did."""
    if tripped is Outcome.EXCEEDED_CPU:
        return cpu_exceeded(limits)
    if record.kind == "memory":
        return memory_exceeded(limits)
    return TenantFailed("The worker's code raised an exception that it did not handle.")


def fail_with_process(
    exchange: Exchange, outcome: Outcome, words: str, error: ProtocolError | None
) -> None:
    """End an invocation whose process ended: of a limit, of its own, or for what it said."""
    if exchange.done:
        return
    refusal: Refusal
    if error is not None:
        exchange.on_exception(_crash("ProtocolError", str(error)))
        refusal = as_refusal(error)
    elif outcome is Outcome.EXCEEDED_CPU:
        refusal = cpu_exceeded(exchange.route.limits)
    elif outcome is Outcome.EXCEEDED_MEMORY:
        refusal = memory_exceeded(exchange.route.limits)
    elif outcome is Outcome.INTERNAL_ERROR:
        refusal = instance_lost()
    else:
        if exchange.failure is None:
            exchange.on_exception(_crash("ProcessDied", f"The worker's process {words}."))
        refusal = WorkerDied(f"The worker's process {words} while it served this request.")
    if exchange.ended:
        exchange.fail_afterwards(refusal)
    if error is not None or not exchange.ended:
        exchange.fail(refusal)
    exchange.finish()


def _crash(name: str, message: str) -> ExceptionRecord:
    """What the tenant's tail shows of an end that its own code could not report."""
    return ExceptionRecord("exception", name, message, "", time.time_ns() // 1_000_000)


def failed_start(outcome: Outcome | None, words: str | None) -> Failed:
    """Why a process did not come to be ready; ``words``: how it ended."""
    if outcome is Outcome.EXCEEDED_CPU:
        return _over_start_limit("cpu", "Script startup exceeded CPU time limit.")
    if outcome is Outcome.EXCEEDED_MEMORY:
        return _over_start_limit("memory", "Script startup exceeded memory limit.")
    if outcome is Outcome.EXCEEDED_WALL_TIME:
        return _over_start_limit("wall", "Script startup took too long.")
    died = f"The process {words or 'was stopped'} while it loaded."
    return Failed("code", "ProcessDied", died, "", None, None)


def _over_start_limit(reason: str, message: str) -> Failed:
    return Failed(reason, "StartupLimit", message, "", None, None)


def start_refused(failed: Failed, limits: Limits | None) -> Refusal:
    """The page of a request for which no instance came to be ready; the tail shows why."""
    refusal: Refusal
    if failed.reason == "cpu":
        refusal = CpuExceeded("The worker used more CPU time than it may use to start.")
    elif failed.reason == "wall":
        refusal = WallTimeExceeded("The worker took longer than it may take to start.")
    elif failed.reason == "memory" and limits is not None:
        refusal = memory_exceeded(limits)
    else:
        refusal = TenantFailed(f"The worker's code could not be started: {failed.message}")
    now_ms = time.time_ns() // 1_000_000
    refusal.record = ExceptionRecord("exception", failed.name, failed.message, failed.stack, now_ms)
    return refusal
