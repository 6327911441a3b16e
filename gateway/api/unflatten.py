"""Bracketed form fields back into a tree: ``a[b][][c]=1`` → ``{"a": {"b": [{"c": "1"}]}}``.

An array carries no positions; a new element starts when a key repeats.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from gateway.api.errors import BadBody

MAX_DEPTH: Final = 12
_NAME: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_STEP: Final = re.compile(r"\[([^\[\]]*)\]")


def unflatten(fields: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The tree that fields describe, in the order they came. Raises BadBody when they clash."""
    root: dict[str, Any] = {}
    for name, value in fields:
        match = _NAME.fullmatch(name)
        steps = [] if match is None else [match[1], *_STEP.findall(match[2])]
        if not steps or len(steps) > MAX_DEPTH:
            raise BadBody(f"form field {name[:80]!r} has no usable name")
        if not _insert(root, steps, value):
            raise BadBody(f"form field {name[:80]!r} clashes with another one")
    return root


def _insert(node: Any, steps: list[str], value: str) -> bool:
    """Put ``value`` below ``node``; False when something else is there already."""
    step, rest = steps[0], steps[1:]
    if step == "":
        return isinstance(node, list) and _append(node, rest, value)
    if not isinstance(node, dict):
        return False
    if not rest:
        if step in node:
            return False
        node[step] = value
        return True
    child = node.setdefault(step, [] if rest[0] == "" else {})
    return _insert(child, rest, value)


def _append(items: list[Any], steps: list[str], value: str) -> bool:
    """Put ``value`` into the last element, or into a new one when it has no room for it."""
    if not steps:
        items.append(value)
        return True
    if items and _insert(items[-1], steps, value):
        return True
    items.append([] if steps[0] == "" else {})
    return _insert(items[-1], steps, value)
