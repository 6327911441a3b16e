"""End the process in the middle of a request."""

import os


def attempt():
    os._exit(0)
