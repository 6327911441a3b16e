"""Raise what ends interpreters: SystemExit, KeyboardInterrupt, GeneratorExit."""

import sys


async def attempt():
    sys.exit("the whole instance")
