"""Whose fault an end was, and in which words."""

from __future__ import annotations

import signal

import pytest

from sandbox import ExitStatus, Outcome, classify_exit

KILLED = ExitStatus(signal=signal.SIGKILL)


@pytest.mark.parametrize(
    ("killed_for", "status", "outcome", "words"),
    [
        (None, ExitStatus(code=3), Outcome.EXCEPTION, "exited with status 3"),
        (None, KILLED, Outcome.EXCEPTION, "was killed by SIGKILL"),
        (None, ExitStatus(signal=200), Outcome.EXCEPTION, "was killed by signal 200"),
        (None, ExitStatus(signal=signal.SIGXCPU), Outcome.EXCEEDED_CPU, "was killed by SIGXCPU"),
        (Outcome.EXCEEDED_CPU, KILLED, Outcome.EXCEEDED_CPU, "was killed by SIGKILL"),
        (
            None,
            ExitStatus(signal=signal.SIGKILL, out_of_memory=True),
            Outcome.EXCEEDED_MEMORY,
            "ran out of memory",
        ),
        (
            None,
            ExitStatus(signal=signal.SIGKILL, with_zygote=True),
            Outcome.INTERNAL_ERROR,
            "ended with its zygote",
        ),
        (
            Outcome.EXCEEDED_WALL_TIME,
            ExitStatus(signal=signal.SIGKILL, with_zygote=True),
            Outcome.EXCEEDED_WALL_TIME,
            "ended with its zygote",
        ),
    ],
)
def test_an_end_has_one_reason(
    killed_for: Outcome | None, status: ExitStatus, outcome: Outcome, words: str
) -> None:
    assert classify_exit(killed_for, status) is outcome
    assert status.describe() == words


def test_an_end_that_nobody_saw_is_the_codes_own() -> None:
    assert classify_exit(None, None) is Outcome.EXCEPTION
