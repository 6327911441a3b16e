"""The zygote's loop: take orders, fork instances, reap them."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import importlib
import itertools
import logging
import os
import platform
import secrets
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from sandbox.errors import JailError
from sandbox.jail import (
    credentials,
    mounts,
    namespaces,
    seccomp,
    seccomp_alone,
    seccomp_policy,
    syscalls,
)
from sandbox.supervisor import messages, outer, packing, reaper, scout
from sandbox.supervisor.spawn import Birth, Entry, Recipe, become_instance, forget_supervisor

logger = logging.getLogger(__name__)
_WARMUP: Final = "sandbox.runtime.warmup"
_REHEARSAL: Final = "sandbox.runtime.rehearsal"
_BOOTSTRAP: Final = "sandbox.runtime.bootstrap"
_ORDER_DESCRIPTORS: Final = 2
_THREAD_END_SECONDS: Final = 2.0
_THREAD_POLL_SECONDS: Final = 0.001
_THREAD_STACK_BYTES: Final = 2 << 20
"""Enough for Python's recursion limit; with 8 MiB each, a small plan would hold seven threads."""


def serve(control: socket.socket, packet: bytes, interpreter_path: Sequence[str]) -> None:
    """Set up as configured and serve until the gateway closes the control socket."""
    config = messages.decode_config(packet)
    outer.forget_host()
    try:
        server = _prepare(config, control, interpreter_path)
    except JailError as error:
        control.send(messages.encode(messages.Fatal(error.step, error.why)))
        sys.exit(1)
    _go_behind(config)
    control.send(messages.encode(messages.Ready(server.recipe.landlock_abi)))
    try:
        server.run()
    except (BrokenPipeError, ConnectionResetError):
        pass  # The gateway is gone.
    finally:
        server.end()


def _go_behind(config: messages.ZygoteConfig) -> None:
    """Let those that serve go before those that start; the children inherit it."""
    nice = max(config.nice, os.getpriority(os.PRIO_PROCESS, 0))
    # Not every host lets it be asked for, and none has to.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        syscalls.sched_setattr(0, nice, config.slice_ns)


def _prepare(
    config: messages.ZygoteConfig, control: socket.socket, interpreter_path: Sequence[str]
) -> ForkServer:
    if config.insecure:
        recipe = _load(config, _Self())
        return ForkServer(control, recipe, os.fork, _prepare_directories(config.work_dir))
    tree = outer.find_tree(config, interpreter_path)
    if not config.namespaces:
        return _prepare_alone(config, control, tree)
    outer.enter(config, control.fileno())
    this = _Self()
    pid_namespaces = namespaces.PidNamespaces()
    outer.close(tree)
    recipe = _load(config, this, tree.tops(), pid_namespaces.fork)
    return ForkServer(control, recipe, pid_namespaces.fork)


def _prepare_alone(
    config: messages.ZygoteConfig, control: socket.socket, tree: mounts.Tree
) -> ForkServer:
    directory = outer.make_directory(config.work_dir)
    # Instances have no such place: they shall be told so, and not be pointed to this one.
    tempfile.tempdir = None
    # Instances with a user id of their own pass through.
    os.chmod(directory, 0o711)  # noqa: S103 - nobody can list it
    outer.enter_alone(control.fileno(), directory)
    this = _Self()
    recipe = _load(config, this, outer.close_alone(tree, directory), os.fork, directory)
    return ForkServer(control, recipe, os.fork, directory)


def _prepare_directories(work_dir: str) -> str:
    return tempfile.mkdtemp(prefix="waypost-", dir=work_dir or None)


class _Self:
    """This process as /proc shows it, still readable when /proc is out of sight."""

    def __init__(self) -> None:
        self._tasks = os.open("/proc/self/task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._memory = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    def assert_one_thread(self) -> None:
        """Refuse to fork from a process whose locks another thread may hold."""
        deadline = time.monotonic() + _THREAD_END_SECONDS
        while (threads := len(os.listdir(self._tasks))) != 1:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{threads} threads run after the preload, expected 1")
            # The kernel ends a thread a moment after the interpreter has joined it.
            time.sleep(_THREAD_POLL_SECONDS)

    def address_space_bytes(self) -> int:
        """Return the size of the address space now."""
        return int(os.pread(self._memory, 64, 0).split()[0]) * os.sysconf("SC_PAGE_SIZE")

    def close(self) -> None:
        """Let go of /proc."""
        os.close(self._tasks)
        os.close(self._memory)


def _make_threads_small() -> None:
    """Spare the address space that every thread takes, which counts as memory of the plan."""
    threading.stack_size(_THREAD_STACK_BYTES)
    syscalls.share_one_heap()


def _load(
    config: messages.ZygoteConfig,
    this: _Self,
    readable: Sequence[str] = (),
    fork: Callable[[], int] | None = None,
    directory: str = "",
) -> Recipe:
    """Load and exercise what instances will need, and freeze it."""
    program = seal = b""

    def preload() -> None:
        importlib.import_module(_WARMUP).preload(config.packages)

    def settle() -> None:
        importlib.import_module(_REHEARSAL).settle(config.packages)

    def compile_filter() -> None:
        nonlocal program, seal
        machine = platform.machine()
        policy = seccomp_policy.POLICY if config.namespaces else seccomp_alone.ALONE
        program = seccomp.assemble(seccomp.compile_policy(machine, policy))
        if not config.namespaces:
            seal = seccomp.assemble(seccomp_alone.compile_seal(machine))

    _make_threads_small()
    steps: list[outer.Step] = [("preload", preload), ("settle", settle)]
    steps.append(("one thread", this.assert_one_thread))
    if not config.insecure:
        steps.append(("seccomp policy", compile_filter))
    outer.run_steps(steps)
    recipe = Recipe(
        entry=importlib.import_module(_BOOTSTRAP).main,
        null=os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC),
        address_space_bytes=0,
        readable=tuple(readable),
        landlock_abi=0 if config.insecure else syscalls.landlock_abi(),
        filter=program,
        seal=seal,
        zygote=os.getpid(),
        namespaces=config.namespaces,
        change_uid=not config.insecure and not config.user_namespace,
        insecure=config.insecure,
    )
    recipe = dataclasses.replace(recipe, address_space_bytes=this.address_space_bytes())
    lives = _scout(config.packages, recipe, fork, directory) if fork is not None else [()]
    forget_supervisor()
    _pack(config.packages, lives)
    recipe = dataclasses.replace(recipe, address_space_bytes=this.address_space_bytes())
    this.close()
    # What is frozen is not touched by the collectors of the children, so its pages stay shared.
    gc.freeze()
    return recipe


def _scout(
    packages: Sequence[str], recipe: Recipe, fork: Callable[[], int], directory: str
) -> list[tuple[int, ...]]:
    """Return the ids of the code that it takes to make an instance, and that runs in its life.

    First in that of a plain script, then in those that use one of the packages each.
    """

    def serve(control: socket.socket, entry: Entry) -> None:
        known = dataclasses.replace(recipe, entry=entry)
        ForkServer(control, known, fork, directory).run_once()

    live = importlib.import_module(_BOOTSTRAP).live
    lives = importlib.import_module(_REHEARSAL).whole_lives(mounts.APP, packages)
    found = []
    for name, said in lives.items():
        found.append(scout.ids(serve, live, said))
        if not found[-1]:
            logger.warning("no instance could be tried out", extra={"life": name})
    return found


def _pack(packages: Sequence[str], lives: Sequence[tuple[int, ...]]) -> None:
    """Arrange the memory that children will share; ``lives`` are ids of the code that they run."""
    rehearsal = importlib.import_module(_REHEARSAL)

    def run() -> None:
        rehearsal.repeat()
        rehearsal.rehearse()

    gc.collect()
    packing.fill()
    packing.gather(run, lives[0], itertools.chain.from_iterable(lives[1:]))
    rehearsal.settle(packages)
    packing.look_up()
    rehearsal.rehearse()
    gc.collect()
    packing.fill()


class ForkServer:
    """Forks children on order and reports their ends."""

    def __init__(
        self,
        control: socket.socket,
        recipe: Recipe,
        fork: Callable[[], int],
        directories: str = "",
    ) -> None:
        self.recipe = recipe
        self._control = control
        self._fork = fork
        self._directories = directories
        self._living: dict[int, Birth] = {}
        """The children by pid."""

    def run(self) -> None:
        """Serve until the control socket is closed."""
        wakeup = reaper.watch_children()
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(wakeup, select.POLLIN)
        while True:
            for fd, _event in poll.poll():
                if fd == wakeup:
                    self._reap(wakeup)
                elif not self._take_order():
                    return

    def run_once(self) -> None:
        """Take one order and wait for the end of what it starts."""
        wakeup = reaper.watch_children()
        try:
            self._take_order()
            while self._living:
                select.select([wakeup], [], [])
                self._reap(wakeup)
        finally:
            reaper.stop_watching(wakeup)

    def end(self) -> None:
        """Leave nothing behind. In the jail the kernel kills the rest with this process."""
        if not self.recipe.insecure:
            os._exit(0)
        for pid in self._living:
            os.kill(pid, signal.SIGKILL)
        for pid in self._living:
            os.waitpid(pid, 0)
        shutil.rmtree(self._directories, ignore_errors=True)

    def _reap(self, wakeup: int) -> None:
        for exited in reaper.reap(wakeup):
            birth = self._living.pop(exited.pid, None)
            if birth is not None and self._directories:
                shutil.rmtree(os.path.dirname(birth.app_dir), ignore_errors=True)
            self._control.send(messages.encode(exited))

    def _take_order(self) -> bool:
        packet, descriptors, _flags, _address = socket.recv_fds(
            self._control, messages.MAX_PACKET, messages.MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        if not packet:
            return False
        try:
            order = messages.decode_order(packet)
            if len(descriptors) == _ORDER_DESCRIPTORS:
                self._spawn(order, descriptors[0], descriptors[1])
            else:
                self._refuse(order, f"{len(descriptors)} descriptors came, expected 2")
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _refuse(self, order: messages.SpawnOrder, why: str) -> None:
        self._control.send(messages.encode(messages.Refused(order.order, why)))

    def _birth(self, order: messages.SpawnOrder, wire: int, log: int) -> Birth:
        if not self._directories:
            uid = self._choose_uid() if self.recipe.change_uid else namespaces.MAPPED_ID
            return Birth(order, uid, wire, log)
        # Not by tempfile: its generator's state is in the memory of every child.
        directory = os.path.join(self._directories, secrets.token_hex(16))
        app = os.path.join(directory, "app")
        os.mkdir(directory, 0o711)
        os.mkdir(app, 0o700)
        uid = os.getuid()
        if self.recipe.change_uid:
            uid = self._choose_uid()
            os.chown(app, uid, uid)
        return Birth(order, uid, wire, log, app)

    def _choose_uid(self) -> int:
        """Pick an id that nobody alive has; at random, since one in turn would count the others."""
        taken = {birth.uid for birth in self._living.values()}
        while True:
            uid = credentials.FIRST_UID + secrets.randbelow(credentials.UIDS)
            if uid not in taken:
                return uid

    def _spawn(self, order: messages.SpawnOrder, wire: int, log: int) -> None:
        try:
            birth = self._birth(order, wire, log)
            pid = self._fork()
        except OSError as error:
            self._refuse(order, f"fork: {error}")
            return
        if pid == 0:
            # Tenant code can walk the frames above it to this object.
            self._living.clear()
            become_instance(self.recipe, birth)
        self._living[pid] = birth
        pidfd = os.pidfd_open(pid)
        try:
            forked = messages.encode(messages.Forked(order.order, pid))
            socket.send_fds(self._control, [forked], [pidfd])
        finally:
            os.close(pidfd)
