"""Credentials: user ids, capabilities, keyrings, no_new_privs.

Stops: every act that needs privilege, gaining privilege by set-user-id files, touching what another
user id owns, being traced by an equal, keys kept in the inherited session keyring. Does not stop:
what any unprivileged user may do. In a user namespace all instances share the gateway's user id.
"""

from __future__ import annotations

import errno
import os
import signal
from typing import Final

from sandbox.jail import syscalls

FIRST_UID: Final = 200_000
UIDS: Final = 60_000
_TOLERATED: Final = frozenset({errno.ENOSYS, errno.EDQUOT, errno.EPERM})


def drop_bounding_set() -> None:
    """Empty the capability bounding set; every child inherits that. Needs CAP_SETPCAP."""
    capability = 0
    while True:
        try:
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, capability)
        except OSError as error:
            # EINVAL: past the last capability this kernel knows.
            if error.errno == errno.EINVAL and capability:
                return
            raise
        capability += 1


def become(uid: int) -> None:
    """Become an unprivileged user and group without supplementary groups. Needs root."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def drop_capabilities() -> None:
    """Empty the permitted, effective and inheritable sets."""
    syscalls.clear_capabilities()


def leave_session_keyring() -> None:
    """Join a new session keyring. Where the quota or the host forbids it, seccomp covers keyctl."""
    try:
        syscalls.join_session_keyring()
    except OSError as error:
        if error.errno not in _TOLERATED:
            raise


def forbid_new_privileges() -> None:
    """Set no_new_privs and make the process invisible to ptrace and core dumps."""
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Ask for a signal when the parent dies. A change of user id clears it: call it after."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent has ended."""
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
