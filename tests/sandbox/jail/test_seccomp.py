"""The seccomp compiler, against a plain reading of the policy and a BPF interpreter."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

import pytest

from sandbox.jail import seccomp, seccomp_alone
from sandbox.jail.seccomp_policy import POLICY, Argument, Group
from sandbox.jail.syscall_numbers import NUMBERS

ALL_ONES = (1 << 64) - 1
MACHINES = sorted(NUMBERS)


def interpret(program: seccomp.Code, number: int, arch: int, arguments: tuple[int, ...]) -> int:
    """Run a program on a struct seccomp_data, as the kernel would."""
    padded = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("=IIQ6Q", number, arch, 0, *padded)
    accumulator = position = 0
    for _ in range(len(program)):
        code, if_true, if_false, operand = program[position]
        position += 1
        if code == seccomp.RETURN:
            return operand
        if code == seccomp.LD_WORD:
            (accumulator,) = struct.unpack_from("=I", data, operand)
        elif code == seccomp.AND:
            accumulator &= operand
        elif code == seccomp.JUMP_ALWAYS:
            position += operand
        elif code == seccomp.JUMP_EQUAL:
            position += if_true if accumulator == operand else if_false
        elif code == seccomp.JUMP_GREATER_EQUAL:
            position += if_true if accumulator >= operand else if_false
        else:
            raise AssertionError(f"unknown instruction {code:#x}")
    raise AssertionError("no RETURN was reached")


def named_in(groups: tuple[Group, ...], name: str) -> list[Group]:
    return [group for group in groups if name in group.names.split()]


def passes(group: Group, arguments: tuple[int, ...]) -> bool:
    return all((arguments[test.index] & test.mask) in test.values for test in group.arguments)


def expected(name: str, arguments: tuple[int, ...]) -> int:
    if named_in(POLICY.kill, name):
        return seccomp.RET_KILL_PROCESS
    if named_in(POLICY.pretended, name):
        return seccomp.RET_NOTHING
    if named_in(POLICY.missing, name):
        return seccomp.RET_ENOSYS
    if any(passes(group, arguments) for group in named_in(POLICY.allow, name)):
        return seccomp.RET_ALLOW
    return seccomp.RET_EPERM


def interesting_values(tests: list[Argument]) -> list[int]:
    """Values that a rule on this argument could get wrong: around each value, in each half."""
    if not tests:
        return [0]
    values = {0, 1, ALL_ONES, 1 << 32, 0xFFFFFFFF}
    for test in tests:
        for value in test.values:
            values |= {value, value + 1, value ^ (1 << 32), value | (1 << 63), test.mask, value | 4}
    return sorted(value & ALL_ONES for value in values)


def argument_vectors(name: str) -> Iterator[tuple[int, ...]]:
    tests = [test for group in named_in(POLICY.allow, name) for test in group.arguments]
    columns = [interesting_values([test for test in tests if test.index == i]) for i in range(6)]
    return itertools.product(*columns)


@pytest.mark.parametrize("machine", MACHINES)
def test_every_system_call_is_treated_as_the_policy_says(machine: str) -> None:
    program = seccomp.compile_policy(machine)
    arch = seccomp.AUDIT_ARCH[machine]
    for name, number in NUMBERS[machine].items():
        for arguments in argument_vectors(name):
            got = interpret(program, number, arch, arguments)
            assert got == expected(name, arguments), (name, [hex(a) for a in arguments])


@pytest.mark.parametrize("machine", MACHINES)
def test_a_number_in_a_hole_of_the_table_is_denied(machine: str) -> None:
    program = seccomp.compile_policy(machine)
    known = set(NUMBERS[machine].values())
    holes = [number for number in range(max(known)) if number not in known]
    assert holes
    for number in holes:
        answer = interpret(program, number, seccomp.AUDIT_ARCH[machine], ())
        assert answer == seccomp.RET_EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_a_number_newer_than_the_table_is_missing(machine: str) -> None:
    program = seccomp.compile_policy(machine)
    newest = max(NUMBERS[machine].values())
    answer = interpret(program, newest + 1, seccomp.AUDIT_ARCH[machine], ())
    assert answer == seccomp.RET_ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_a_foreign_architecture_is_killed(machine: str) -> None:
    program = seccomp.compile_policy(machine)
    foreign = [arch for name, arch in seccomp.AUDIT_ARCH.items() if name != machine]
    for arch in (*foreign, 0x40000003, 0):
        answer = interpret(program, NUMBERS[machine]["read"], arch, ())
        assert answer == seccomp.RET_KILL_PROCESS


@pytest.mark.parametrize("number", [0x40000000, 0x40000001, 0x40000200, 0xFFFFFFFF])
def test_x32_is_killed(number: int) -> None:
    program = seccomp.compile_policy("x86_64")
    answer = interpret(program, number, seccomp.AUDIT_ARCH["x86_64"], ())
    assert answer == seccomp.RET_KILL_PROCESS


@pytest.mark.parametrize("name", ["socket", "connect", "bind", "execve", "fork", "vfork", "kill"])
def test_what_breaks_out_is_denied_with_any_argument(name: str) -> None:
    program = seccomp.compile_policy("x86_64")
    for arguments in itertools.product((0, 1, 2, ALL_ONES), repeat=3):
        number = NUMBERS["x86_64"][name]
        answer = interpret(program, number, seccomp.AUDIT_ARCH["x86_64"], arguments)
        assert answer == seccomp.RET_EPERM


def test_every_name_of_the_policy_is_a_system_call() -> None:
    known = {name for table in NUMBERS.values() for name in table}
    groups = (*POLICY.kill, *POLICY.missing, *POLICY.pretended, *POLICY.allow)
    assert {name for group in groups for name in group.names.split()} <= known


def test_no_name_is_in_two_lists() -> None:
    lists = [
        {name for group in groups for name in group.names.split()}
        for groups in (POLICY.kill, POLICY.missing, POLICY.pretended, POLICY.allow)
    ]
    for one, other in itertools.combinations(lists, 2):
        assert not one & other


@pytest.mark.parametrize("machine", MACHINES)
def test_jumps_fit_and_stay_inside(machine: str) -> None:
    program = seccomp.compile_policy(machine)
    for position, instruction in enumerate(program):
        assert instruction.if_true <= 255
        assert instruction.if_false <= 255
        far = instruction.operand if instruction.code == seccomp.JUMP_ALWAYS else 0
        assert position + 1 + max(instruction.if_true, instruction.if_false, far) <= len(program)
    assert len(seccomp.assemble(program)) == 8 * len(program)


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(OSError, match="riscv64"):
        seccomp.compile_policy("riscv64")


@pytest.mark.parametrize("machine", MACHINES)
def test_without_namespaces_it_signals_itself_alone(machine: str) -> None:
    policy = seccomp.assemble(seccomp.compile_policy(machine, seccomp_alone.ALONE))
    program = [
        seccomp.Instruction(*instruction)
        for instruction in struct.iter_unpack("=HBBI", seccomp_alone.bake(policy, pid=4321))
    ]
    number, arch = NUMBERS[machine]["tgkill"], seccomp.AUDIT_ARCH[machine]
    assert interpret(program, number, arch, (4321, 4321, 6)) == seccomp.RET_ALLOW
    for other in (1, 4320, 4322, ALL_ONES):
        assert interpret(program, number, arch, (other, other, 0)) == seccomp.RET_EPERM
