"""``python -m tests.fuzz.guided [corpus] [-runs=N]``: look for inputs, guided by coverage."""

from __future__ import annotations

import asyncio
import sys

import atheris

FUZZED = ["gateway.pool", "sandbox.payloads", "sandbox.protocol", "tests.fuzz.wire"]

with atheris.instrument_imports(include=FUZZED):
    from tests.fuzz.wire import hear


def main() -> None:
    """Fuzz until told to stop."""
    loop = asyncio.new_event_loop()

    def play(data: bytes) -> None:
        loop.run_until_complete(hear(data))

    atheris.Setup(sys.argv, play)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
