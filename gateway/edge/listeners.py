"""What all connections of one listener share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

_Shared = TypeVar("_Shared")


class OfListener(Generic[_Shared]):
    """One for each listener, made when it is first asked for, and gone with the listener."""

    def __init__(self, make: Callable[[], _Shared]) -> None:
        self._make = make
        self._known: WeakKeyDictionary[object, _Shared] = WeakKeyDictionary()

    def __call__(self, listener: object) -> _Shared:
        """That of a listener, for which any object of its own may stand."""
        found = self._known.get(listener)
        if found is None:
            found = self._known[listener] = self._make()
        return found
