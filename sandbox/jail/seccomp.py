"""Seccomp: a compiler from the policy to a classic BPF program, and its loading.

The program checks the architecture, refuses x32, finds the system call by binary search and tests
arguments at the leaf. Source of the formats: linux/seccomp.h, linux/bpf_common.h, linux/audit.h.
What the barrier stops and what it does not: see the policy.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from sandbox.jail import syscalls
from sandbox.jail.seccomp_policy import POLICY, Argument, Group, Policy
from sandbox.jail.syscall_numbers import NUMBERS

RET_KILL_PROCESS: Final = 0x80000000
RET_ALLOW: Final = 0x7FFF0000
RET_EPERM: Final = 0x00050000 | errno.EPERM
RET_ENOSYS: Final = 0x00050000 | errno.ENOSYS
RET_NOTHING: Final = 0x00050000
"""An error number of 0: the call returns 0 without having been made."""

AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
LD_WORD: Final = 0x20
JUMP_EQUAL: Final = 0x15
JUMP_GREATER_EQUAL: Final = 0x35
JUMP_ALWAYS: Final = 0x05
AND: Final = 0x54
RETURN: Final = 0x06

_OFFSET_NUMBER: Final = 0
_OFFSET_ARCH: Final = 4
_OFFSET_ARGUMENTS: Final = 16
_X32_BIT: Final = 0x40000000
_LOW: Final = 0xFFFFFFFF
_FARTHEST: Final = 255
"""A conditional jump's offset is 8 bit wide."""
_MAX_INSTRUCTIONS: Final = 4096


class Instruction(NamedTuple):
    """One struct sock_filter; jumps are relative to the next instruction."""

    code: int
    if_true: int
    if_false: int
    operand: int


Code = list[Instruction]


def _statement(code: int, operand: int) -> Instruction:
    return Instruction(code, 0, 0, operand)


def _end(action: int) -> Code:
    return [_statement(RETURN, action)]


def _branch(code: int, operand: int, yes: Code, no: Code) -> Code:
    """Test, then one of two pieces of code that both end in a RETURN."""
    if len(no) <= _FARTHEST:
        return [Instruction(code, len(no), 0, operand), *no, *yes]
    trampoline = _statement(JUMP_ALWAYS, len(no))
    return [Instruction(code, 0, 1, operand), trampoline, *no, *yes]


def _test_word(offset: int, mask: int, value: int, yes: Code, no: Code) -> Code:
    code = [_statement(LD_WORD, offset)]
    if mask != _LOW:
        code.append(_statement(AND, mask))
    return code + _branch(JUMP_EQUAL, value, yes, no)


def _test_value(argument: Argument, value: int, yes: Code, no: Code) -> Code:
    """Compare one 64-bit argument; a half whose mask is empty is not looked at."""
    offset = _OFFSET_ARGUMENTS + 8 * argument.index
    low = _test_word(offset, argument.mask & _LOW, value & _LOW, yes, no)
    high_mask = argument.mask >> 32
    if not high_mask:
        return low
    return _test_word(offset + 4, high_mask, value >> 32, low, no)


def _test_argument(argument: Argument, yes: Code, no: Code) -> Code:
    code = no
    for value in reversed(argument.values):
        code = _test_value(argument, value, yes, code)
    return code


def _test_rules(rules: Sequence[tuple[Argument, ...]]) -> Code:
    """Allow when all tests of any rule hold, else EPERM."""
    code = _end(RET_EPERM)
    for arguments in reversed(rules):
        yes = _end(RET_ALLOW)
        for argument in reversed(arguments):
            yes = _test_argument(argument, yes, code)
        code = yes
    return code


def _numbers(
    groups: Sequence[Group], table: dict[str, int]
) -> dict[int, list[tuple[Argument, ...]]]:
    """Return the argument rules by number; names unknown to this architecture are left out."""
    rules: dict[int, list[tuple[Argument, ...]]] = {}
    for group in groups:
        for name in group.names.split():
            if name in table:
                rules.setdefault(table[name], []).append(group.arguments)
    return rules


def _leaves(policy: Policy, table: dict[str, int]) -> dict[int, Code]:
    leaves: dict[int, Code] = {}
    for number, rules in _numbers(policy.allow, table).items():
        leaves[number] = _test_rules(rules) if all(rules) else _end(RET_ALLOW)
    leaves.update(dict.fromkeys(_numbers(policy.pretended, table), _end(RET_NOTHING)))
    leaves.update(dict.fromkeys(_numbers(policy.missing, table), _end(RET_ENOSYS)))
    leaves.update(dict.fromkeys(_numbers(policy.kill, table), _end(RET_KILL_PROCESS)))
    return leaves


def _ranges(leaves: dict[int, Code], newest: int) -> list[tuple[int, Code]]:
    """Return (first number, code) of each run of equal treatment, in order, from 0."""
    ranges: list[tuple[int, Code]] = []
    for number in range(newest + 1):
        code = leaves.get(number, _end(RET_EPERM))
        if not ranges or ranges[-1][1] != code:
            ranges.append((number, code))
    # Unknown to these tables: the C library takes EPERM for an answer, ENOSYS for "fall back".
    ranges.append((newest + 1, _end(RET_ENOSYS)))
    return ranges


def _search(ranges: Sequence[tuple[int, Code]]) -> Code:
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    return _branch(
        JUMP_GREATER_EQUAL, ranges[middle][0], _search(ranges[middle:]), _search(ranges[:middle])
    )


def compile_policy(machine: str, policy: Policy = POLICY) -> Code:
    """Compile a policy for ``x86_64`` or ``aarch64``. Raises OSError for another machine."""
    if machine not in NUMBERS:
        raise OSError(errno.ENOSYS, f"no system call table for {machine}")
    table = NUMBERS[machine]
    tree = _search(_ranges(_leaves(policy, table), max(table.values())))
    if machine == "x86_64":
        tree = _branch(JUMP_GREATER_EQUAL, _X32_BIT, _end(RET_KILL_PROCESS), tree)
    by_number = [_statement(LD_WORD, _OFFSET_NUMBER), *tree]
    program = [
        _statement(LD_WORD, _OFFSET_ARCH),
        *_branch(JUMP_EQUAL, AUDIT_ARCH[machine], by_number, _end(RET_KILL_PROCESS)),
    ]
    if len(program) > _MAX_INSTRUCTIONS:
        raise OSError(errno.E2BIG, f"seccomp program of {len(program)} instructions")
    return program


def assemble(program: Code) -> bytes:
    """Return the program as the kernel takes it."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def load(program: bytes) -> None:
    """Install an assembled program on this thread for good. Needs no_new_privs."""
    syscalls.load_seccomp(program)
