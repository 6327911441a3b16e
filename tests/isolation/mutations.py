"""Turns each barrier off, one at a time, and tells which test notices.

``python -m tests.isolation.mutations [begin of a name ...]``: works on a copy of the checkout,
prints a table of barrier and first failing test, and ends with status 1 when one went unnoticed.
Those of the level without namespaces (``alone: ...``) are tried on such a host, which root makes
of this one. The list is data; test_mutations.py checks that each text stands where it says. A run
without names writes docs/mutations.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .hosts import UID

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "mutations.md"
COPIED: Final = ("gateway", "sandbox", "tests", "pyproject.toml", "routing.yaml")
SECONDS: Final = 240
OUTSIDE: Final = "tests/isolation/test_from_outside.py"
HOLDS: Final = "tests/isolation/test_jail_holds.py"
LEAKS: Final = "tests/isolation/test_leaks.py"
NATIVE: Final = "tests/isolation/test_native.py"
CREDENTIALS: Final = "tests/isolation/test_credentials.py"
THREADS: Final = "tests/isolation/test_threads.py"
TREE: Final = "tests/isolation/test_tree.py"
SECCOMP: Final = "tests/sandbox/jail/test_seccomp.py"
VERIFY: Final = "tests/sandbox/supervisor/test_verify.py"
ARGUMENTS: Final = "tests/isolation/test_arguments.py"
RULES: Final = "tests/sandbox/jail/test_landlock_rules.py"
ALONE: Final = "tests/isolation/test_alone.py"


@dataclass(frozen=True, slots=True)
class Mutation:
    """One barrier and how to turn it off."""

    name: str
    file: str
    text: str
    """Stands there exactly once."""
    instead: str
    tests: tuple[str, ...] = (OUTSIDE, HOLDS, LEAKS)
    """Where it has to be noticed; most telling first."""
    host: str = ""
    """Which host of hosts.py they run on; empty: this one."""


_JAIL = "sandbox/jail/"
_POLICY = _JAIL + "seccomp_policy.py"
_SPAWN = "sandbox/supervisor/spawn.py"
_FORKSERVER = "sandbox/supervisor/forkserver.py"
_OUTER = "sandbox/supervisor/outer.py"
_SECCOMP_ALONE = _JAIL + "seccomp_alone.py"
_USER = "user-alone"
_ROOT = "root-alone"

MUTATIONS: Final = (
    # Namespaces
    Mutation("own mount and IPC namespace", _JAIL + "namespaces.py",
             "syscalls.unshare(INNER)", "pass"),
    Mutation("own IPC namespace", _JAIL + "namespaces.py",
             "INNER: Final = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC",
             "INNER: Final = syscalls.CLONE_NEWNS"),
    Mutation("network namespace", _JAIL + "namespaces.py",
             "    | syscalls.CLONE_NEWNET\n", ""),
    Mutation("host name namespace", _JAIL + "namespaces.py",
             "    | syscalls.CLONE_NEWUTS\n", ""),
    Mutation("cgroup namespace", _JAIL + "namespaces.py",
             "    | syscalls.CLONE_NEWCGROUP\n", ""),
    Mutation("own pid namespace", _JAIL + "namespaces.py",
             "syscalls.unshare(syscalls.CLONE_NEWPID)", "pass"),
    # Mounts
    Mutation("root is read-only", _JAIL + "mounts.py",
             "    _freeze(root)\n", ""),
    Mutation("runtime is read-only", _JAIL + "mounts.py",
             "    _freeze(target, MS_NODEV | _locked(target))", "    pass"),
    Mutation("packages that are not listed are hidden", _JAIL + "mounts.py",
             "masked = [path for path in tree.masked if os.path.isdir(path)]", "masked = []",
             (OUTSIDE, HOLDS, TREE)),
    Mutation("devices are read-only", _JAIL + "mounts.py",
             "    _freeze(target, MS_NOEXEC | _locked(target))", "    pass"),
    Mutation("bundle is read-only", _JAIL + "mounts.py",
             "    _freeze(APP, MS_NODEV)", "    pass"),
    Mutation("scratch is limited", _JAIL + "mounts.py",
             "size={max(size, _PAGE)},", ""),
    Mutation("inodes are limited", _JAIL + "mounts.py",
             "nr_inodes={inodes},", ""),
    Mutation("scratch is not executable", _JAIL + "mounts.py",
             "(SCRATCH, sizes.scratch_bytes, _SCRATCH_INODES, MS_NOEXEC)",
             "(SCRATCH, sizes.scratch_bytes, _SCRATCH_INODES, 0)", (OUTSIDE, NATIVE)),
    Mutation("the old root is gone", _JAIL + "mounts.py",
             'syscalls.umount(".", syscalls.MNT_DETACH)', "pass"),
    Mutation("the writable view of the bundle is given up", "sandbox/runtime/bootstrap.py",
             "os.chdir(app_dir)", "pass", (LEAKS,)),
    # Limits
    *(
        Mutation(f"RLIMIT_{name}", _JAIL + "rlimits.py",
                 f"        (resource.RLIMIT_{name}, {value}),\n", "", (OUTSIDE, HOLDS, THREADS))
        for name, value in {
            "AS": "limits.address_space_bytes", "FSIZE": "limits.file_bytes",
            "NOFILE": "DESCRIPTORS", "STACK": "_STACK_BYTES", "CPU": "_LIFETIME_CPU_SECONDS",
            "CORE": "0", "MEMLOCK": "0", "MSGQUEUE": "0", "SIGPENDING": "DESCRIPTORS",
        }.items()
    ),
    Mutation("hard limits", _JAIL + "rlimits.py",
             "resource.setrlimit(which, (value, value))",
             "resource.setrlimit(which, (value, hard))"),
    Mutation("threads are limited", _JAIL + "rlimits.py",
             "    _lower(resource.RLIMIT_NPROC,", "    _lower(resource.RLIMIT_RSS,",
             (OUTSIDE, THREADS)),
    # Credentials
    Mutation("bounding set", _JAIL + "credentials.py",
             "syscalls.prctl(syscalls.PR_CAPBSET_DROP, capability)",
             "capability > 40 and syscalls.prctl(syscalls.PR_CAPBSET_DROP, capability)",
             (HOLDS, CREDENTIALS)),
    Mutation("supplementary groups", _JAIL + "credentials.py",
             "    os.setgroups([])\n", "", (HOLDS, CREDENTIALS)),
    Mutation("group id", _JAIL + "credentials.py",
             "    os.setresgid(uid, uid, uid)\n", "", (HOLDS, CREDENTIALS)),
    Mutation("user id", _JAIL + "credentials.py",
             "    os.setresuid(uid, uid, uid)\n", "", (HOLDS, CREDENTIALS)),
    Mutation("capset", _JAIL + "credentials.py",
             "    syscalls.clear_capabilities()\n", "    pass\n", (HOLDS, CREDENTIALS)),
    Mutation("no new privileges", _JAIL + "credentials.py",
             "    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)\n", "", (HOLDS, CREDENTIALS)),
    Mutation("not dumpable", _JAIL + "credentials.py",
             "    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)\n", "", (OUTSIDE, CREDENTIALS)),
    Mutation("ends with its parent", _SPAWN,
             "    credentials.forbid_new_privileges()\n    credentials.die_with_parent()\n",
             "    credentials.forbid_new_privileges()\n", (OUTSIDE, CREDENTIALS)),
    Mutation("session keyring", _SPAWN,
             "    credentials.leave_session_keyring()\n", "", (OUTSIDE, CREDENTIALS)),
    # Descriptors, signals, surroundings
    Mutation("other descriptors are closed", _JAIL + "fds.py",
             "    syscalls.close_range(WIRE + 1, _LAST)\n", ""),
    Mutation("umask", _SPAWN, "    os.umask(_UMASK)\n", "    pass\n"),
    Mutation("own process group", _SPAWN, "    os.setpgid(0, 0)\n", "    pass\n"),
    Mutation("empty environment", "sandbox/supervisor/outer.py",
             "    os.environ.clear()\n", "", (HOLDS, LEAKS)),
    Mutation("empty arguments", "sandbox/supervisor/outer.py",
             "    sys.orig_argv[:] = []\n", "", (HOLDS, LEAKS)),
    Mutation("the supervisor's modules are forgotten", _SPAWN,
             "        del sys.modules[name]\n", "        pass\n", (HOLDS,)),
    Mutation("other instances are forgotten", _FORKSERVER,
             "            self._living.clear()\n", "", (LEAKS,)),
    Mutation("user ids are drawn", _FORKSERVER,
             "secrets.randbelow(credentials.UIDS)", "len(taken)", (LEAKS, HOLDS)),
    # Landlock
    Mutation("Landlock", _JAIL + "landlock.py",
             "        syscalls.landlock_restrict_self(ruleset)\n", "        pass\n"),
    Mutation("Landlock: signals and abstract sockets", _JAIL + "landlock.py",
             "_SCOPES: Final = 0b11", "_SCOPES: Final = 0", (RULES, LEAKS)),
    # Seccomp
    Mutation("seccomp", _JAIL + "seccomp.py",
             "    syscalls.load_seccomp(program)\n", "    pass\n"),
    Mutation("seccomp: unlisted calls", _JAIL + "seccomp.py",
             "leaves.get(number, _end(RET_EPERM))", "leaves.get(number, _end(RET_ALLOW))",
             (SECCOMP, HOLDS)),
    Mutation("seccomp: calls that kill", _POLICY,
             "POLICY: Final = Policy(kill=KILL,", "POLICY: Final = Policy(kill=(),",
             (HOLDS, NATIVE)),
    Mutation("seccomp: x32", _JAIL + "seccomp.py",
             'if machine == "x86_64":', "if False:", (SECCOMP, NATIVE)),
    Mutation("seccomp: architecture", _JAIL + "seccomp.py",
             "AUDIT_ARCH[machine], by_number, _end(RET_KILL_PROCESS)",
             "AUDIT_ARCH[machine], by_number, by_number[1:]", (SECCOMP, NATIVE)),
    Mutation("seccomp: written memory is not executed", _POLICY,
             '"mprotect", (Argument(2, (0,), _EXEC),)', '"mprotect"', (HOLDS, NATIVE, ARGUMENTS)),
    Mutation("seccomp: huge pages", _POLICY,
             "_MAP_HUGETLB: Final = 0x40000", "_MAP_HUGETLB: Final = 0", (ARGUMENTS,)),
    Mutation("seccomp: anonymous memory is not executed", _POLICY,
             "(_EXEC,), _WRITE_EXEC), Argument(3, (0,), _MAP_ANONYMOUS | _MAP_HUGETLB))",
             "(_EXEC,), _EXEC),)", (HOLDS, NATIVE)),
    Mutation("seccomp: threads, no processes", _POLICY,
             '"clone", (Argument(0, (_PTHREAD_FLAGS,)),)', '"clone"', (ARGUMENTS,)),
    Mutation("seccomp: advice", _POLICY,
             "          (Argument(2, _ADVICE, _INT),)),\n", "          ),\n", (LEAKS,)),
    Mutation("seccomp: limits are read only", _POLICY,
             '(Argument(0, (0,), _INT), Argument(2, (0,)))', "()", (ARGUMENTS,)),
    Mutation("seccomp: prctl", _POLICY,
             '"prctl", (Argument(0, _PR_SET_NAME_AND_GET_NAME, _INT),)', '"prctl"', (ARGUMENTS,)),
    Mutation("seccomp: fcntl", _POLICY,
             '"fcntl", (Argument(1, _FCNTLS, _INT),)', '"fcntl"', (ARGUMENTS,)),
    Mutation("seccomp: ioctl", _POLICY,
             '"ioctl", (Argument(1, _IOCTLS, _INT),)', '"ioctl"', (ARGUMENTS,)),
    Mutation("seccomp: socketpair", _POLICY,
             '"socketpair", (Argument(0, (_AF_UNIX,), _INT),)', '"socketpair"', (ARGUMENTS,)),
    Mutation("seccomp: sendto", _POLICY,
             "_OUT_OF_BAND), Argument(4, (0,)))", "_OUT_OF_BAND),)", (ARGUMENTS,)),
    Mutation("seccomp: out of band", _POLICY,
             "(Argument(3, (0,), _OUT_OF_BAND), Argument(4, (0,)))", "(Argument(4, (0,)),)",
             (ARGUMENTS,)),
    Mutation("seccomp: tgkill", _POLICY,
             '"tgkill", (Argument(0, (_SELF,), _INT),)', '"tgkill"', (ARGUMENTS,)),
    Mutation("seccomp: flushing the disk", _POLICY,
             "pretended=PRETENDED, allow=ALLOW)", "pretended=(), allow=ALLOW)", (LEAKS,)),
    Mutation("seccomp: how full the disk is", _POLICY,
             '"statfs fstatfs"),\n)', '""),\n    Group("", ""),\n)', (LEAKS,)),
    # Without namespaces
    Mutation("alone: Landlock", _SPAWN,
             "        landlock.restrict(recipe.landlock_abi, readable, writable, mounts.DEVICES)\n",
             "        pass\n", (ALONE,), _USER),
    Mutation("alone: seccomp", _SPAWN,
             "        seccomp.load(seccomp_alone.bake(recipe.filter, os.getpid()))", "        pass",
             (ALONE,), _USER),
    Mutation("alone: the bundle is sealed", _SPAWN,
             "        landlock.enforce(self._ruleset)", "        os.close(self._ruleset)",
             (ALONE,), _USER),
    Mutation("alone: the second filter", _SPAWN,
             "        seccomp.load(self._recipe.seal)\n", "", (ALONE,), _USER),
    Mutation("alone: what sealed stays open", _SECCOMP_ALONE,
             '        table["landlock_restrict_self"]: RET_EPERM,\n', "", (ALONE,), _USER),
    Mutation("alone: times of files", _SECCOMP_ALONE,
             '        table["utimensat"]: RET_EPERM,\n', "", (ALONE,), _USER),
    Mutation("alone: modes of files", _SECCOMP_ALONE,
             '_NEVER: Final = "chmod fchmod fchmodat fchmodat2"', '_NEVER: Final = ""',
             (ALONE,), _USER),
    Mutation("alone: processes by their id", _SECCOMP_ALONE,
             "_ITSELF: Final = (Argument(0, (0, _OWN_PID), _INT),)",
             "_ITSELF: Final[tuple[Argument, ...]] = ()", (ALONE,), _USER),
    Mutation("alone: clocks of others", _SECCOMP_ALONE,
             '"clock_gettime clock_getres clock_nanosleep", (Argument(0, (0,), 0xFFFFFFF0),)',
             '"clock_gettime clock_getres clock_nanosleep"', (ALONE,), _USER),
    Mutation("alone: locks that name their owner", _SECCOMP_ALONE,
             '"futex",\n          (Argument(1, _FUTEXES, _FUTEX_COMMAND),)', '"futex"',
             (ALONE,), _USER),
    Mutation("alone: who is at the other end", _SECCOMP_ALONE,
             '"getsockopt",\n          (Argument(1, (_SOL_SOCKET,), _INT), '
             'Argument(2, _SOCKET_OPTIONS, _INT))', '"getsockopt"', (ALONE,), _USER),
    Mutation("alone: threads of others", _SECCOMP_ALONE,
             '"tgkill", (Argument(0, (_OWN_PID,), _INT),)', '"tgkill"', (SECCOMP,)),
    Mutation("alone: packages that are not listed", _JAIL + "view.py",
             "    if path in masked:\n        return\n", "", (ALONE, TREE), _USER),
    Mutation("alone: threads", _SPAWN,
             "        rlimits.bound_threads(rlimits.SHARED_THREADS)", "        pass",
             (ALONE, THREADS, OUTSIDE), _USER),
    Mutation("alone: ends with the zygote", _SPAWN,
             "    credentials.forbid_new_privileges()\n    credentials.die_with_parent()\n",
             "    credentials.forbid_new_privileges()\n", (ALONE,), _USER),
    Mutation("alone: bundles go with the zygote", _OUTER,
             "    shutil.rmtree(directory, ignore_errors=True)\n    os._exit(0)",
             "    os._exit(0)", (ALONE,), _USER),
    Mutation("alone: bundles of a killed keeper", _OUTER,
             "                _remove_unless_held(left)\n", "                pass\n",
             (ALONE,), _USER),
    Mutation("alone: user id", _SPAWN,
             "        credentials.become(birth.uid)\n        rlimits.bound_threads()\n    else:\n",
             "        rlimits.bound_threads()\n    else:\n", (ALONE, HOLDS, CREDENTIALS), _ROOT),
    # No entry for capabilities: there becoming the user takes them, and dropping them is a repeat.
    # The look from outside
    Mutation("verification of the status", "sandbox/supervisor/verify.py",
             "        if not holds:\n", "        if False:\n", (VERIFY,)),
    Mutation("verification of the namespaces", "sandbox/supervisor/verify.py",
             "        _check_namespaces(pid)\n", "        pass\n", (VERIFY,)),
)  # fmt: skip


def main(names: list[str]) -> int:
    """Try all mutations, or the named ones."""
    chosen = [m for m in MUTATIONS if m.name.startswith(tuple(names) or "")]
    if failed := run_unchanged(chosen):
        print(f"fails without any change: {failed}")  # noqa: T201
        return 2
    found: dict[str, str | None] = {}
    for mutation in chosen:
        found[mutation.name] = try_out(mutation)
        noticed = found[mutation.name] or "NOT NOTICED"
        print(f"{mutation.name:45} {noticed}", flush=True)  # noqa: T201
    if not names:
        PAGE.write_text(write_page(found))
    return 1 if None in found.values() else 0


def write_page(found: Mapping[str, str | None]) -> str:
    """The table of which test noticed, as Markdown."""
    lines = [
        "# Each barrier off, and the test that notices",
        "",
        "`python -m tests.isolation.mutations` turns one barrier at a time off in a copy of the",
        "checkout and runs the tests of the jail until one fails; it wrote this page. `alone` are",
        "those of the level without namespaces, tried on a host that has none.",
        "",
        "| turned off | first test that fails |",
        "|---|---|",
    ]
    for name, test in found.items():
        # Of a test with parameters, which of them is the first is chance.
        noticed = (test or "none").removeprefix("tests/").partition("[")[0]
        lines.append(f"| {name} | `{noticed}` |")
    return "\n".join(lines) + "\n"


def run_unchanged(chosen: Sequence[Mutation]) -> str | None:
    """Return the first test that fails anyway, and would notice everything."""
    with checkout() as copy:
        files = sorted({(mutation.host, tests) for mutation in chosen for tests in mutation.tests})
        return next(filter(None, (_first_failure(copy, *each) for each in files)), None)


def try_out(mutation: Mutation) -> str | None:
    """Return the first test that fails, None when all pass."""
    with checkout() as copy:
        apply(mutation, copy)
        failures = (_first_failure(copy, mutation.host, tests) for tests in mutation.tests)
        return next(filter(None, failures), None)


@contextmanager
def checkout() -> Iterator[Path]:
    """Copy the checkout for as long as the block."""
    with tempfile.TemporaryDirectory() as folder:
        for name in COPIED:
            source, target = ROOT / name, Path(folder, name)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        # Other users read it too.
        Path(folder).chmod(0o755)
        yield Path(folder)


def apply(mutation: Mutation, root: Path) -> None:
    """Change one text. Raises ValueError unless it stands there exactly once."""
    file = root / mutation.file
    source = file.read_text()
    if source.count(mutation.text) != 1:
        raise ValueError(f"{mutation.name}: {source.count(mutation.text)} times in {mutation.file}")
    file.write_text(source.replace(mutation.text, mutation.instead))


def _first_failure(copy: Path, host: str, tests: str) -> str | None:
    command = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider"]
    # A message that is not there is what a barrier that kills leaves behind; no need to wait long.
    command += ["--timeout", "30", "--tb=no", tests]
    # Nodes that tests start elsewhere import from there too.
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory() as shared:
        if host:
            if host != _ROOT:
                os.chown(shared, UID, UID)
            command = [sys.executable, "-m", "tests.isolation.hosts", host, *command]
            command += [f"--basetemp={shared}/base"]
            environment["TMPDIR"] = shared
        try:
            done = subprocess.run(
                command, cwd=copy, env=environment, capture_output=True, text=True, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            return f"{tests} (does not end)"
    if done.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return found[1] if found else f"{tests} (status {done.returncode})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
