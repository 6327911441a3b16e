"""The bindings of a new version, from what its metadata says and what the previous version had.

Secrets live on across deploys unless replaced. An entry of type ``inherit``, or one with a name and
a type but no value, keeps the previous version's; both are resolved here, so that a stored version
is complete by itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec

from gateway.catalog.errors import (
    BadUpload,
    BindingUnavailable,
    BindingUnnamed,
    InheritMissing,
    SecretMissing,
    TooManyBindings,
    VariableTooLarge,
)
from gateway.model.script import Binding
from sandbox import payloads

SECRET: Final = "secret_text"  # noqa: S105
MAX_BINDINGS: Final = 128
MAX_ENV: Final = 128 * 1024
"""All variables and secrets of a version together, encoded, bytes."""
_NAME: Final = re.compile(r"[A-Za-z_$][\w$.-]{0,254}", re.ASCII)
_MISSING: Final = object()


def resolve_bindings(
    raw: Iterable[Mapping[str, Any]],
    previous: Iterable[Binding] = (),
    *,
    keep_types: Collection[str] = (),
    strict: bool = False,
) -> tuple[Binding, ...]:
    """Every binding of the new version, in order of name.

    ``strict``: an ``inherit`` without a counterpart is an error; else it is dropped.
    """
    old = {binding.name: binding for binding in previous}
    kept = {SECRET, *keep_types}
    found: dict[str, Binding] = {}
    for entry in raw:
        name = check_name(entry.get("name"))
        if name in found:
            raise BindingUnnamed(f"binding {name!r} is listed twice", fix="name each binding once")
        binding = _resolve(name, entry, old, strict=strict)
        if binding is not None:
            found[name] = binding
    for name, binding in old.items():
        if binding.type in kept:
            found.setdefault(name, binding)
    bindings = tuple(found[name] for name in sorted(found))
    check_size(bindings)
    return bindings


def with_secrets(
    bindings: Iterable[Binding], secrets: Mapping[str, str | None], *, missing_ok: bool = False
) -> tuple[Binding, ...]:
    """The bindings with secrets set, and removed where None. Raises SecretMissing."""
    found = {binding.name: binding for binding in bindings}
    for name, text in secrets.items():
        if text is not None:
            found[check_name(name)] = Binding(name, SECRET, text=text)
        elif name in found and found[name].type == SECRET:
            del found[name]
        elif not missing_ok:
            raise SecretMissing(f"the script has no secret {name[:80]!r}")
    changed = tuple(found[name] for name in sorted(found))
    check_size(changed)
    return changed


def check_name(name: object) -> str:
    """``name`` when it may name a binding; else raises BindingUnnamed."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        shown = "a binding without a name" if name is None else f"binding name {name!r:.80}"
        raise BindingUnnamed(
            f"{shown} is not allowed", fix="use letters, digits and _, such as API_KEY"
        )
    return name


def check_size(bindings: tuple[Binding, ...]) -> None:
    """Raise unless the bindings are few and small enough to be sent to an instance."""
    if len(bindings) > MAX_BINDINGS:
        raise TooManyBindings(f"{len(bindings)} bindings are more than the {MAX_BINDINGS} allowed")
    try:
        size = len(payloads.encode_metadata({item.name: item.value for item in bindings}))
    except (ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise BadUpload(f"a binding's value cannot be passed on: {error}") from None
    if size > MAX_ENV:
        raise VariableTooLarge(
            f"variables and secrets have {size} bytes, more than the {MAX_ENV} allowed",
            fix="put large data into a module of the bundle",
        )


def _resolve(
    name: str, entry: Mapping[str, Any], old: Mapping[str, Binding], *, strict: bool
) -> Binding | None:
    kind = entry.get("type")
    if kind == "inherit":
        return _inherit(name, entry.get("old_name") or name, old, strict=strict)
    if kind == "json":
        value = entry.get("json", _MISSING)
        if value is not _MISSING:
            return Binding(name, "json", json=value)
    elif kind in ("plain_text", SECRET):
        text = entry.get("text", _MISSING)
        if isinstance(text, str):
            return Binding(name, kind, text=text)
        if text is not _MISSING and text is not None:
            raise BadUpload(
                f"binding {name!r} of type {kind} needs its value as a string in 'text'"
            )
    else:
        raise BindingUnavailable(
            f"binding type {kind!r:.60} is not available on this platform (binding {name!r})",
            fix="available types: plain_text, json, secret_text, inherit",
        )
    return _unchanged(name, str(kind), old)


def _inherit(
    name: str, old_name: object, old: Mapping[str, Binding], *, strict: bool
) -> Binding | None:
    source = old.get(old_name) if isinstance(old_name, str) else None
    if source is not None:
        return msgspec.structs.replace(source, name=name)
    if strict:
        raise InheritMissing(
            f"binding {name!r} inherits {old_name!r:.80}, which the previous version has not",
            fix="give the binding a type and a value",
        )
    return None


def _unchanged(name: str, kind: str, old: Mapping[str, Binding]) -> Binding:
    source = old.get(name)
    if source is None or source.type != kind:
        field = "json" if kind == "json" else "text"
        raise BadUpload(f"binding {name!r} of type {kind} has no {field!r}")
    return source
