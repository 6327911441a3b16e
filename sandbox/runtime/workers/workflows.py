"""``workers.workflows``: the names a workflow imports."""

from __future__ import annotations


class NonRetryableError(Exception):
    """A step failed in a way that trying again will not mend."""

    def __init__(self, message: str = "", name: str = "NonRetryableError") -> None:
        super().__init__(message)
        self.name = name
