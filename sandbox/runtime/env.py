"""The bindings of a script: ``env.NAME``, ``env["NAME"]``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_MISSING = object()


class Env:
    """Variables and secrets bound to this version, as attributes and as items."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self.__dict__.update(values or {})

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"env has no binding {name!r}: add it to the bindings of the script's metadata"
        )

    def __getitem__(self, name: str) -> Any:
        try:
            return self.__dict__[name]
        except KeyError:
            raise KeyError(
                f"env has no binding {name!r}: add it to the bindings of the script's metadata"
            ) from None

    def __setitem__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def __repr__(self) -> str:
        return f"<Env {', '.join(sorted(self.__dict__)) or 'without bindings'}>"

    def get(self, name: str, default: Any = None) -> Any:
        """Return a binding, or ``default`` when there is none of that name."""
        return self.__dict__.get(name, default)

    def keys(self) -> Iterable[str]:
        """Return the names of the bindings."""
        return self.__dict__.keys()


env = Env()
"""The one environment of this process."""


@contextmanager
def patch_env(
    values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **named: Any
) -> Iterator[None]:
    """Change bindings for the time of a ``with`` block."""
    changes = {**dict(values), **named}
    before = {name: env.__dict__.get(name, _MISSING) for name in changes}
    env.__dict__.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is _MISSING:
                env.__dict__.pop(name, None)
            else:
                env.__dict__[name] = value
