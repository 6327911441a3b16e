"""Starting an instance of a version: spawn, load, and what an upload gets to see of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from gateway.config import Config
from gateway.errors import InstanceLost, NoRuntime, StartLost
from gateway.model.plan import Limits
from gateway.model.script import JAVASCRIPT, Bytecode, Version
from gateway.pool.bytecode import Compiler, CompilerStore
from gateway.pool.fairness import Fairness
from gateway.pool.instance import Instance
from gateway.pool.subrequests import Fetcher
from sandbox import MIB, SandboxSpec, Supervisor, Watchdog, payloads

logger = logging.getLogger(__name__)

NO_JAVASCRIPT = "This node has no JavaScript runtime; the script is stored only."

SHARED_REQUESTS = 64
"""Requests that one instance of asynchronous code serves at once."""
FILE_SLACK = 4096
"""A file takes whole pages: this is the most that it takes beyond its length."""
BYTECODE_PART = 4
"""Bytecode lies in the instance's memory: more than this part of it is not worth its time."""


class Starter:
    """Starts instances within their start-up limits."""

    def __init__(
        self,
        config: Config,
        supervisor: Supervisor,
        watchdog: Watchdog,
        fetcher: Fetcher,
        store: CompilerStore,
    ) -> None:
        self._supervisor = supervisor
        self._watchdog = watchdog
        self._fetcher = fetcher
        self._fairness = Fairness()
        self._cpu_ms = config.runtime.startup_cpu_ms
        self._wall_ms = config.runtime.startup_wall_ms
        self._bundle_files = config.upload.max_modules
        bundle_bytes = config.upload.max_mb * MIB
        # Its bytecode may have as many bytes as the bundle.
        self._bundle_bytes = 2 * bundle_bytes + self._bundle_files * FILE_SLACK
        self.compiler = Compiler(
            supervisor,
            watchdog,
            store,
            cpu_ms=config.runtime.compile_cpu_ms,
            max_bytes=bundle_bytes,
        )

    @property
    def wall_seconds(self) -> float:
        """Longest time that loading a script may take."""
        return self._wall_ms / 1000

    def keep_spares(self, plans: Iterable[Limits]) -> None:
        """Have processes of these plans' sizes jailed in advance; the first is needed most."""
        self._supervisor.keep_spares([self._size(limits) for limits in plans])

    def _size(self, limits: Limits) -> SandboxSpec:
        return SandboxSpec(
            memory_bytes=limits.memory_mb * MIB,
            scratch_bytes=limits.scratch_mb * MIB,
            bundle_bytes=self._bundle_bytes,
            bundle_files=self._bundle_files,
        )

    async def start(
        self, version: Version, limits: Limits, on_change: Callable[[Instance], None]
    ) -> Instance:
        """A serving instance of ``version``.

        Raises SandboxError when no process could be jailed, StartFailed when the code does not
        load, InstanceLost when the zygotes end under it.
        """
        if version.kind == JAVASCRIPT:
            raise NoRuntime(NO_JAVASCRIPT)
        try:
            return await self._start(version, limits, on_change)
        except (StartLost, InstanceLost) as error:
            # Whoever ended the process, its code did not: it is not made to wait for that.
            extra = {"script": version.key.name, "why": str(error)}
            logger.warning("an instance was lost while it started; starting another", extra=extra)
            return await self._start(version, limits, on_change)

    async def _start(
        self, version: Version, limits: Limits, on_change: Callable[[Instance], None]
    ) -> Instance:
        begun_ns = time.monotonic_ns()
        spec = self._size(limits)
        bytecode = await self.compiler.find(version)
        sandbox = await self._supervisor.spawn(spec)
        instance = Instance(
            sandbox,
            self._watchdog,
            self._fetcher,
            version=version,
            memory_bytes=spec.memory_bytes,
            on_change=on_change,
            share=self._fairness.share(version.tenant, limits.weight),
        )
        try:
            await instance.load(
                _init(version),
                _fitting(bytecode, spec),
                cpu_ms=self._cpu_ms,
                wall_ms=self._wall_ms,
                concurrency=min(SHARED_REQUESTS, limits.concurrency),
            )
        except BaseException:
            instance.stop("could not be loaded")
            raise
        instance.started_ns = time.monotonic_ns() - begun_ns
        if bytecode is None:
            self.compiler.offer(version.key, version.id)
        return instance


Adopt = Callable[[Instance, Limits], None]
"""Takes in an instance that nobody else has, under these limits."""


class Candidate:
    """An instance started to validate an upload."""

    def __init__(self, instance: Instance, limits: Limits, adopt: Adopt) -> None:
        self._instance = instance
        self._limits = limits
        self._adopt = adopt
        self.ready = instance.ready
        self.startup_ms = instance.started_ns // 1_000_000

    def adopt(self) -> None:
        """It becomes the first warm instance of its version."""
        self._adopt(self._instance, self._limits)

    def discard(self) -> None:
        """It is not needed."""
        self._instance.stop("was started to validate an upload")


class Launcher:
    """Validates versions by really starting them."""

    def __init__(
        self,
        starter: Starter,
        adopt: Adopt,
        on_change: Callable[[Instance], None],
    ) -> None:
        self._starter = starter
        self._adopt = adopt
        self._on_change = on_change

    async def launch(self, version: Version, limits: Limits) -> Candidate:
        """Start ``version``. Raises StartFailed when its code does not load."""
        instance = await self._starter.start(version, limits, self._on_change)
        return Candidate(instance, limits, self._adopt)


def _fitting(bytecode: Bytecode | None, spec: SandboxSpec) -> Bytecode | None:
    """Bytecode, unless it would take more than its part of the memory that the plan allows."""
    if bytecode is None or len(bytecode.content) > spec.memory_bytes // BYTECODE_PART:
        return None
    return bytecode


def _init(version: Version) -> payloads.Init:
    return payloads.Init(
        modules=[(module.name, len(module.content)) for module in version.modules],
        main=version.main_module,
        entrypoint=version.entrypoint,
        env={binding.name: binding.value for binding in version.bindings},
        script=version.key.name,
        version_id=version.id,
        created_ms=version.created_ms,
    )
