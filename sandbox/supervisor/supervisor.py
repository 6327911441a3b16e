"""The supervisor: keeps a zygote alive and turns orders into verified instances."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

from sandbox import doctor, ladder
from sandbox.errors import (
    HostUnfit,
    JailError,
    SandboxError,
    SpawnError,
    SpawnLost,
    SupervisorDown,
)
from sandbox.jail import rlimits
from sandbox.outcome import ExitStatus
from sandbox.payloads import Failed, Hello, decode_struct
from sandbox.protocol import HEADER, HEADER_SIZE, VERSION, FrameType
from sandbox.spec import SandboxSpec, SupervisorSettings
from sandbox.supervisor import cgroups, cpuclock, runtime_files, verify
from sandbox.supervisor.control import ZygoteProcess
from sandbox.supervisor.instance import Sandbox
from sandbox.supervisor.messages import Ready, ZygoteConfig
from sandbox.supervisor.spares import Spares

logger = logging.getLogger(__name__)

_SPAWN_TIMEOUT_SECONDS: Final = 10.0
_MAX_FIRST_FRAME: Final = 16 * 1024
_ATTEMPTS: Final = 3
"""Instances made for one who asks, while they are killed before they have been given any code."""
_RESTARTS: Final = 5
_RESTART_PERIOD_SECONDS: Final = 30.0
_NOT_THE_HOST: Final = ("preload", "settle", "one thread")
"""Steps of the zygote that fail for reasons of the installed packages."""
_PROBE_SPEC: Final = SandboxSpec()


class Supervisor:
    """Starts instances. ``start`` before use and ``close`` at the end, on one event loop."""

    def __init__(self, settings: SupervisorSettings) -> None:
        self.settings = settings
        self.insecure = settings.insecure
        self.level = ladder.NONE
        """Which rung of the ladder the instances stand on, see :mod:`sandbox.ladder`."""
        self.missing_packages: tuple[str, ...] = ()
        """Listed packages that are not installed."""
        self.cgroups = "off"
        """Which cgroups hold the instances, in words; ``off`` without any."""
        self._cgroups: cgroups.Cgroups | None = None
        self._zygote: ZygoteProcess | None = None
        self._retired: list[ZygoteProcess] = []
        """Those that take no orders any more and have instances left."""
        self._rotation: asyncio.Task[None] | None = None
        self._namespaces: bool | None = None
        """Whether instances are in namespaces; None before the first start."""
        self._launching = asyncio.Lock()
        self._launches: deque[float] = deque(maxlen=_RESTARTS)
        self._spares = Spares(self._make, settings.spares)
        self._closed = False

    @property
    def alive(self) -> bool:
        """True while instances can be started without starting a zygote first."""
        return self._zygote is not None and self._zygote.alive

    async def start(self) -> None:
        """Start the zygote and try the barriers.

        Raises HostUnfit below the configured minimum level, SupervisorDown when no zygote starts.
        """
        if not self.insecure:
            await asyncio.to_thread(self._open_cgroups)
        try:
            await self._ready_zygote()
        except BaseException:
            await self.close()
            raise
        if self.settings.rotation_seconds:
            self._rotation = asyncio.create_task(self._rotate_for_ever())

    def keep_spares(self, sizes: Sequence[SandboxSpec]) -> None:
        """Have instances of these sizes ready, as many of each as the settings say."""
        self._spares.keep(sizes)

    @property
    def spares(self) -> int:
        """Instances that are ready for whoever comes."""
        return self._spares.count()

    async def spares_made(self) -> None:
        """Return when there are as many as there shall be."""
        await self._spares.made()

    async def spawn(self, spec: SandboxSpec) -> Sandbox:
        """Give an instance that is jailed, said HELLO and was verified from outside.

        A spare where there is one. Raises JailError when a step of the jail failed, SpawnError when
        the instance could not be started, SupervisorDown when there is no zygote.
        """
        spare = self._spares.take(spec)
        for _ in range(_ATTEMPTS - 1):
            try:
                return spare or await self._make(spec)
            except SpawnLost as error:
                logger.warning("an instance was lost; starting another", extra={"why": str(error)})
        return await self._make(spec)

    async def _make(self, spec: SandboxSpec) -> Sandbox:
        zygote = await self._ready_zygote()
        sandbox = await self._open(zygote, spec, probe=False)
        try:
            if not self.insecure:
                verify.verify(
                    sandbox.pid,
                    own_uid=not _needs_user_namespace(),
                    namespaces=self._namespaces is not False,
                )
            sandbox.settle()
            await self._enclose(sandbox)
        except (ProcessLookupError, JailError) as error:
            # Of a process that is gone no barrier can be seen.
            lost = isinstance(error, ProcessLookupError) or sandbox.is_over
            sandbox.close()
            if not lost:
                raise
            raise SpawnLost("the instance ended while it was verified") from error
        except BaseException:
            sandbox.close()
            raise
        return sandbox

    async def rotate(self) -> None:
        """Start instances from a fresh zygote, with an address layout and hash seed of its own.

        The present one stays until the last of its instances has ended. Raises as ``start`` does;
        nothing changes then.
        """
        async with self._launching:
            fresh = await self._launch()
            if self._closed:
                await fresh.close()
                raise SupervisorDown("the supervisor is closed")
            old, self._zygote = self._zygote, fresh
            fresh.on_end = partial(self._replace, fresh)
            self._retired = [zygote for zygote in self._retired if not zygote.ended]
            if old is not None:
                self._retired.append(old)
                old.retire()
            self._spares.renew()

    async def _rotate_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self.settings.rotation_seconds)
            try:
                await self.rotate()
            except SandboxError:
                logger.exception("the zygote could not be rotated; the present one stays")

    async def close(self) -> None:
        """End every instance and the zygote."""
        self._closed = True
        if self._rotation is not None:
            self._rotation.cancel()
            await asyncio.wait([self._rotation])
        await self._spares.close()
        zygote, self._zygote = self._zygote, None
        for each in [*self._retired, *([zygote] if zygote is not None else [])]:
            await each.close()
        self._retired.clear()
        if self._cgroups is not None:
            await asyncio.to_thread(self._cgroups.close)
            self._cgroups = None

    def _open_cgroups(self) -> None:
        """Before any child is started: under v2 the node itself has to move."""
        try:
            self._cgroups = cgroups.Cgroups(cgroups.find())
        except cgroups.CgroupsUnavailable as error:
            if self.settings.cgroups == "required":
                raise HostUnfit(doctor.CGROUP, error.why, error.fix) from error
            logger.info("no cgroups", extra={"why": error.why})
        else:
            self.cgroups = self._cgroups.place.version

    async def _enclose(self, sandbox: Sandbox) -> None:
        """Have the kernel keep account of an instance before it is sent any code."""
        if self._cgroups is None:
            return
        memory_bytes = sandbox.base_rss_bytes + sandbox.spec.memory_bytes
        # In a thread: moving a process waits, now and then 20 ms, for others that fork or exit.
        adding = asyncio.get_running_loop().run_in_executor(
            self._cgroups.threads, self._cgroups.add, sandbox.pid, memory_bytes, rlimits.THREADS
        )
        try:
            group = await asyncio.shield(adding)
        except asyncio.CancelledError:
            adding.add_done_callback(_discard_group)
            raise
        except ProcessLookupError:
            raise
        except OSError as error:
            raise SpawnError(f"cgroup: {error}") from error
        sandbox.enclose(group)

    async def _ready_zygote(self) -> ZygoteProcess:
        if self._zygote is not None and self._zygote.alive:
            return self._zygote
        async with self._launching:
            if self._zygote is not None and self._zygote.alive:
                return self._zygote
            if self._closed:
                raise SupervisorDown("the supervisor is closed")
            if self._zygote is not None:
                logger.error("zygote died; starting another")
                await self._zygote.close()
                self._zygote = None
            zygote = await self._launch()
            if self._closed:
                await zygote.close()
                raise SupervisorDown("the supervisor is closed")
            self._zygote = zygote
            zygote.on_end = partial(self._replace, zygote)
            return zygote

    def _replace(self, ended: ZygoteProcess) -> None:
        """Have spares made anew, and so a zygote, before anybody asks for an instance."""
        if self._zygote is ended and not self._closed:
            self._spares.renew()

    async def _launch(self) -> ZygoteProcess:
        self._limit_rate()
        if self._namespaces is None:
            self._namespaces = await asyncio.to_thread(self._choose_namespaces)
        config = await asyncio.to_thread(self._configure, self._namespaces)
        try:
            zygote, ready = await ZygoteProcess.launch(config)
        except JailError as error:
            raise await self._explain(error) from error
        try:
            self._check_level(ready)
            await self._probe(zygote)
        except JailError as error:
            await zygote.close()
            raise await self._explain(error) from error
        except BaseException:
            await zygote.close()
            raise
        if self.level not in (ladder.FULL, ladder.NONE):
            logger.warning(
                "tenants are jailed with less than this software can do",
                extra={"level": self.level, "lost": ladder.loses(self.level)},
            )
        logger.info("zygote ready", extra={"level": self.level, "landlock_abi": ready.landlock_abi})
        return zygote

    def _limit_rate(self) -> None:
        now = time.monotonic()
        if len(self._launches) == _RESTARTS and now - self._launches[0] < _RESTART_PERIOD_SECONDS:
            raise SupervisorDown(
                f"the zygote was started {_RESTARTS} times in {_RESTART_PERIOD_SECONDS:.0f} s"
            )
        self._launches.append(now)

    def _choose_namespaces(self) -> bool:
        """Decide between the rungs of the ladder, once: no later failure lowers the level."""
        if self.insecure or self.settings.minimum_level != ladder.LANDLOCK:
            return True
        return ladder.highest(doctor.examine_host()) != ladder.LANDLOCK

    def _configure(self, namespaces: bool) -> ZygoteConfig:
        files = runtime_files.find(self.settings.packages)
        self.missing_packages = files.missing
        for name in files.missing:
            logger.warning("package is not installed; skipped", extra={"package": name})
        return ZygoteConfig(
            sandbox_dir=str(runtime_files.SANDBOX_DIR),
            import_path=list(files.import_path),
            paths=list(files.paths),
            packages=list(files.installed),
            user_namespace=_needs_user_namespace(),
            namespaces=namespaces,
            insecure=self.insecure,
            work_dir=self.settings.work_dir,
            nice=cpuclock.NICE,
            slice_ns=cpuclock.first_slice_ns(),
        )

    def _check_level(self, ready: Ready) -> None:
        if self.insecure:
            self.level = ladder.NONE
            return
        if not self._namespaces:
            self.level = ladder.LANDLOCK
        else:
            self.level = ladder.FULL if ready.landlock_abi else ladder.NAMESPACES
        if not ladder.reaches(self.level, self.settings.minimum_level):
            raise HostUnfit("Landlock", "the kernel does not offer it", doctor.LANDLOCK_FIX)

    def _tried_level(self) -> str:
        """Return the lowest rung that would have done on the way taken."""
        if not self._namespaces:
            return ladder.LANDLOCK
        return max(ladder.NAMESPACES, self.settings.minimum_level, key=ladder.ORDER.index)

    async def _explain(self, error: JailError) -> HostUnfit | SupervisorDown:
        """Say which barrier of the host stood behind a failed step, when it was one."""
        if self.insecure:
            return SupervisorDown(str(error))
        barriers = await asyncio.to_thread(doctor.examine_host)
        if lacking := ladder.missing(barriers, self._tried_level()):
            return _unfit(lacking[0], ladder.highest(barriers))
        if error.step in _NOT_THE_HOST:
            return SupervisorDown(str(error))
        return HostUnfit(error.step, error.why, "run `waypost doctor` on this host")

    async def _probe(self, zygote: ZygoteProcess) -> None:
        """Let a throw-away instance try to break out before any other is started."""
        sandbox = await self._open(zygote, _PROBE_SPEC, probe=True)
        try:
            async with asyncio.timeout(_SPAWN_TIMEOUT_SECONDS):
                await asyncio.shield(sandbox.exited)
        except TimeoutError:
            raise JailError("probe", "the throw-away instance did not end") from None
        finally:
            sandbox.close()

    async def _open(self, zygote: ZygoteProcess, spec: SandboxSpec, *, probe: bool) -> Sandbox:
        ordered = zygote.order(spec, probe=probe)
        try:
            async with asyncio.timeout(_SPAWN_TIMEOUT_SECONDS):
                sandbox = await ordered
                await _read_hello(sandbox)
        except TimeoutError:
            _close_ordered(ordered)
            raise SpawnError(f"no HELLO within {_SPAWN_TIMEOUT_SECONDS:.0f} s") from None
        except BaseException:
            _close_ordered(ordered)
            raise
        return sandbox


def _close_ordered(ordered: asyncio.Future[Sandbox]) -> None:
    """End what was ordered if it is there; who waited may have been cancelled just as it came."""
    if ordered.done() and not ordered.cancelled() and ordered.exception() is None:
        ordered.result().close()


def _unfit(barrier: ladder.Barrier, level: str) -> HostUnfit:
    fix = barrier.fix
    if level != ladder.NONE:
        fix += f"; or accept less, with `sandbox.minimum_level: {level}`, see docs/security.md"
    return HostUnfit(barrier.name, barrier.detail, fix)


def _discard_group(adding: asyncio.Future[cgroups.Group]) -> None:
    if not adding.cancelled() and adding.exception() is None:
        adding.result().discard()


def _needs_user_namespace() -> bool:
    return os.geteuid() != 0


async def _read_hello(sandbox: Sandbox) -> None:
    """Read the first frame and nothing after it. Raises JailError or SpawnError unless HELLO."""
    length, frame_type, _flags, _reserved, stream = HEADER.unpack(
        await _read_exactly(sandbox, HEADER_SIZE)
    )
    if length > _MAX_FIRST_FRAME or stream != 0:
        raise SpawnError("the instance's first frame is malformed")
    payload = await _read_exactly(sandbox, length)
    if frame_type == FrameType.FAILED:
        failed = decode_struct(Failed, payload)
        raise JailError(failed.name, failed.message)
    if frame_type != FrameType.HELLO or decode_struct(Hello, payload).version != VERSION:
        raise SpawnError(f"the instance said frame type {frame_type} in the place of HELLO")


async def _read_exactly(sandbox: Sandbox, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        try:
            chunk = await loop.sock_recv(sandbox.wire, size - len(data))
        except ConnectionError:
            chunk = b""
        if not chunk:
            status: ExitStatus = await asyncio.shield(sandbox.exited)
            # Nobody here kills one that has not said a word: someone else did.
            kind = SpawnLost if status.signal == signal.SIGKILL else SpawnError
            raise kind(f"the instance {status.describe()} before it was jailed")
        data += chunk
    return data
