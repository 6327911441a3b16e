"""Each step by which a process gives up privilege, alone, in a process of its own."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

import pytest

from sandbox.jail import credentials, namespaces, syscalls
from sandbox.supervisor import spawn
from sandbox.supervisor.verify import read_status

pytestmark = [pytest.mark.isolation]

PR_GET_PDEATHSIG, PR_GET_DUMPABLE = 2, 3
KEYCTL = 250
GET_KEYRING_ID, SESSION = 0, -3
libc = ctypes.CDLL(None, use_errno=True)


def in_a_child(act: Callable[[], str]) -> str:
    """Fork, act, and return what was returned or raised there."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = act()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        return pipe.read()


def in_user_namespace(act: Callable[[], str]) -> str:
    """As above, with every capability of a user namespace of its own."""

    def enter_and_act() -> str:
        namespaces.enter_user_namespace()
        assert int(read_status(os.getpid())["CapEff"], 16)
        return act()

    said = in_a_child(enter_and_act)
    if said.startswith("PermissionError: [Errno 1] unshare"):
        pytest.skip("no user namespaces here")
    return said


def capabilities() -> str:
    status = read_status(os.getpid())
    return " ".join(status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))


NONE = " ".join(["0" * 16] * 5)


def test_all_capabilities_are_dropped() -> None:
    def act() -> str:
        credentials.drop_bounding_set()
        credentials.drop_capabilities()
        return capabilities()

    assert in_user_namespace(act) == NONE


def test_an_instance_of_an_ordinary_user_keeps_none() -> None:
    """Its user id does not change, so that nothing but the drop itself takes them away."""
    recipe = spawn.Recipe(entry=lambda *a, **k: None, null=0, address_space_bytes=0)

    def act() -> str:
        spawn._drop_privileges(recipe, spawn.Birth(None, 0, 0, 0))  # type: ignore[arg-type]
        return capabilities()

    assert in_user_namespace(act) == NONE


def test_no_new_privileges_and_not_dumpable() -> None:
    def act() -> str:
        libc.prctl(4, 1, 0, 0, 0)
        credentials.forbid_new_privileges()
        new = read_status(os.getpid())["NoNewPrivs"]
        return f"{new} {libc.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)}"

    assert in_a_child(act) == "1 0"


def test_an_instance_ends_with_its_parent() -> None:
    def act() -> str:
        spawn._finish_credentials()
        wanted = ctypes.c_int()
        libc.prctl(PR_GET_PDEATHSIG, ctypes.byref(wanted), 0, 0, 0)
        return str(wanted.value)

    assert in_a_child(act) == str(int(signal.SIGKILL))


def test_the_session_keyring_is_left() -> None:
    def act() -> str:
        before = libc.syscall(KEYCTL, GET_KEYRING_ID, SESSION, 1)
        spawn._finish_credentials()
        return str(before != libc.syscall(KEYCTL, GET_KEYRING_ID, SESSION, 0))

    if os.uname().machine != "x86_64":
        pytest.skip("the number of keyctl is that of x86-64")
    assert in_a_child(act) == "True"


def test_becoming_somebody_takes_every_id_and_group() -> None:
    if os.geteuid():
        pytest.skip("only root can become somebody")

    # The codec is loaded while the interpreter's files may still be read.
    read_status(os.getpid())

    def act() -> str:
        os.setgroups([0, 4])
        credentials.become(credentials.FIRST_UID)
        status = read_status(os.getpid())
        return " ".join([*status["Uid"].split(), *status["Gid"].split(), status["Groups"]])

    assert in_a_child(act).split() == [str(credentials.FIRST_UID)] * 8


def test_a_kernel_that_refuses_ends_it() -> None:
    """No step may fail unheard: each raises."""

    def act() -> str:
        syscalls.prctl(syscalls.PR_CAPBSET_DROP, 1000)
        return "went on"

    assert in_a_child(act).startswith("OSError: [Errno 22]")
