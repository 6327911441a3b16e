"""The recipe of one instance, run in the freshly forked child.

Strictly in this order; the first failure is reported on the wire, by a FAILED frame in the place of
HELLO, and the child exits with 125 before it has received any code.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

from sandbox import payloads, protocol
from sandbox.errors import JailError
from sandbox.jail import (
    credentials,
    fds,
    landlock,
    mounts,
    namespaces,
    rlimits,
    seccomp,
    seccomp_alone,
)
from sandbox.supervisor import probes
from sandbox.supervisor.messages import SpawnOrder
from sandbox.supervisor.outer import Step, run_steps

EXIT_JAIL_FAILED: Final = 125
_UMASK: Final = 0o077
_NOT_FOR_TENANTS: Final = ("sandbox.jail", "sandbox.supervisor")


class Entry(Protocol):
    """The runtime's main: says HELLO, receives code, serves."""

    def __call__(
        self,
        wire_fd: int,
        *,
        app_dir: str,
        bundle_dir: str,
        seal: Callable[[], None] | None,
    ) -> object:
        """Serve on the wire until the end. Calls ``seal`` once the bundle is written."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the zygote prepared once for all of its instances."""

    entry: Entry
    null: int
    address_space_bytes: int
    """Of the zygote itself; an instance's allowance comes on top."""
    readable: tuple[str, ...] = ()
    landlock_abi: int = 0
    filter: bytes = b""
    seal: bytes = b""
    """The second filter, where there are no namespaces."""
    zygote: int = 0
    namespaces: bool = True
    change_uid: bool = False
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class Birth:
    """What differs between instances."""

    order: SpawnOrder
    uid: int
    wire: int
    log: int
    app_dir: str = mounts.APP


def _reset_signals() -> None:
    """Undo the one handler that the zygote has set since it reset them all."""
    # Not of the module signal, which makes enumerations of what it is given and gives back.
    _signal.set_wakeup_fd(-1)
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)


def _keep_files_private() -> None:
    os.umask(_UMASK)


def _settle(birth: Birth) -> None:
    _keep_files_private()
    os.chdir(birth.app_dir)


def _limits(recipe: Recipe, order: SpawnOrder) -> rlimits.Limits:
    return rlimits.Limits(
        address_space_bytes=recipe.address_space_bytes + order.memory_bytes,
        file_bytes=max(order.scratch_bytes, order.bundle_bytes),
    )


def _own_process_group() -> None:
    # Not setsid: a new session gets its own scheduler group, in which nice means nothing.
    os.setpgid(0, 0)


def _drop_privileges(recipe: Recipe, birth: Birth) -> None:
    if recipe.change_uid:
        credentials.become(birth.uid)
    else:
        # All instances have one user id. The new namespace comes with every capability.
        namespaces.leave_shared_users()
        credentials.drop_bounding_set()
    if recipe.change_uid or namespaces.counts_threads_apart():
        rlimits.bound_threads()
    credentials.drop_capabilities()


def _finish_credentials() -> None:
    credentials.forbid_new_privileges()
    credentials.die_with_parent()
    credentials.leave_session_keyring()


def _outside_steps(recipe: Recipe, birth: Birth) -> list[Step]:
    return [
        ("signals", _reset_signals),
        ("process group", _own_process_group),
        ("descriptors", lambda: fds.arrange(birth.wire, birth.log, recipe.null)),
    ]


def _jail_steps(recipe: Recipe, birth: Birth) -> list[Step]:
    order = birth.order
    sizes = mounts.Sizes(order.scratch_bytes, order.bundle_bytes, order.bundle_files)
    steps: list[Step] = [
        ("namespaces", namespaces.enter_inner),
        ("mounts", lambda: mounts.mount_private(birth.uid, sizes)),
        ("rlimits", lambda: rlimits.apply(_limits(recipe, order))),
        ("credentials", lambda: _drop_privileges(recipe, birth)),
        ("no new privileges", _finish_credentials),
        ("umask", _keep_files_private),
    ]
    if recipe.landlock_abi:
        writable = (mounts.APP, mounts.SCRATCH)
        steps.append(
            (
                "landlock",
                lambda: landlock.restrict(
                    recipe.landlock_abi, recipe.readable, writable, mounts.DEVICES
                ),
            )
        )
    steps.append(("seccomp", lambda: seccomp.load(recipe.filter)))
    return steps


class Seal:
    """What an instance without namespaces gives up when its bundle is written."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._ruleset = -1

    def prepare(self) -> None:
        """Make the ruleset, while files may still be opened for it."""
        self._ruleset = landlock.prepare_read_only(self._recipe.landlock_abi, mounts.DEVICES)

    def close(self) -> None:
        """Give up writing, and the calls by which it was given up. Any failure raises OSError."""
        landlock.enforce(self._ruleset)
        seccomp.load(self._recipe.seal)


def _become_owner(recipe: Recipe, birth: Birth) -> None:
    if recipe.change_uid:
        credentials.become(birth.uid)
        rlimits.bound_threads()
    else:
        rlimits.bound_threads(rlimits.SHARED_THREADS)
    credentials.drop_capabilities()


def _stay_with_zygote(recipe: Recipe) -> None:
    _finish_credentials()
    if os.getppid() != recipe.zygote:
        raise RuntimeError("the zygote ended before its end could be followed")


def _demand_scopes(recipe: Recipe) -> None:
    if recipe.landlock_abi < landlock.SCOPES_ABI:
        raise RuntimeError(f"ABI {recipe.landlock_abi}, {landlock.SCOPES_ABI} is needed")


def _alone_steps(recipe: Recipe, birth: Birth, seal: Seal) -> list[Step]:
    def restrict() -> None:
        _demand_scopes(recipe)
        readable, writable = recipe.readable, (birth.app_dir,)
        landlock.restrict(recipe.landlock_abi, readable, writable, mounts.DEVICES)

    def load() -> None:
        seccomp.load(seccomp_alone.bake(recipe.filter, os.getpid()))

    return [
        ("rlimits", lambda: rlimits.apply(_limits(recipe, birth.order))),
        ("credentials", lambda: _become_owner(recipe, birth)),
        ("no new privileges", lambda: _stay_with_zygote(recipe)),
        ("working directory", lambda: _settle(birth)),
        ("seal", seal.prepare),
        ("landlock", restrict),
        ("seccomp", load),
    ]


def _insecure_steps(recipe: Recipe, birth: Birth) -> list[Step]:
    return [
        ("rlimits", lambda: rlimits.apply(_limits(recipe, birth.order))),
        ("parent death signal", credentials.die_with_parent),
        ("working directory", lambda: _settle(birth)),
    ]


def _report(wire: int, error: JailError) -> None:
    failed = payloads.Failed("jail", error.step, error.why, "", None, None)
    os.write(wire, payloads.encode_struct(protocol.FrameType.FAILED, 0, failed))


def _guard(wire: int, act: Callable[[], None]) -> None:
    """Act, or report the failure and exit."""
    try:
        act()
    except JailError as error:
        try:
            _report(wire, error)
        finally:
            os._exit(EXIT_JAIL_FAILED)


def forget_supervisor() -> None:
    """Let nobody import what is no business of tenant code.

    Called once, by the zygote, which has all it needs: each of its children would copy the pages
    that it takes.
    """
    for name in [name for name in sys.modules if name.startswith(_NOT_FOR_TENANTS)]:
        del sys.modules[name]
    sys.modules["__main__"] = types.ModuleType("__main__")


def _say_hello() -> None:
    hello = payloads.Hello(protocol.VERSION)
    os.write(fds.WIRE, payloads.encode_struct(protocol.FrameType.HELLO, 0, hello))


def become_instance(recipe: Recipe, birth: Birth) -> NoReturn:
    """Close the jail around this process and hand over to the runtime. Never returns."""
    seal = None if recipe.insecure or recipe.namespaces else Seal(recipe)
    try:
        _guard(birth.wire, lambda: run_steps(_outside_steps(recipe, birth)))
        _guard(fds.WIRE, lambda: run_steps(_inside_steps(recipe, birth, seal)))
        if birth.order.probe:
            _probe(recipe, birth, seal)
        # The bundle is written by way of the working directory, see mounts.mount_private().
        recipe.entry(
            fds.WIRE,
            app_dir=birth.app_dir,
            bundle_dir=os.curdir,
            seal=seal.close if seal is not None else None,
        )
        os._exit(0)
    finally:
        # Whatever was raised, the child must never unwind into the zygote's loop.
        os._exit(EXIT_JAIL_FAILED)


def _inside_steps(recipe: Recipe, birth: Birth, seal: Seal | None) -> list[Step]:
    if seal is not None:
        return _alone_steps(recipe, birth, seal)
    return _insecure_steps(recipe, birth) if recipe.insecure else _jail_steps(recipe, birth)


def _probe(recipe: Recipe, birth: Birth, seal: Seal | None) -> NoReturn:
    """Try to break out, in the place of tenant code."""
    if seal is not None:
        _guard(fds.WIRE, lambda: run_steps([("sealing", seal.close)]))
    if not recipe.insecure:
        _guard(fds.WIRE, lambda: probes.run(birth.app_dir))
    _say_hello()
    os._exit(0)
