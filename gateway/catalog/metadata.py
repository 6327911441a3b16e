"""The ``metadata`` of an upload and the ``settings`` of a script, as clients send them.

Of what Cloudflare defines we use a part; the rest is refused or has no effect, and either is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from gateway.catalog.errors import BadUpload
from gateway.model.plan import Limits
from gateway.model.script import Binding, Version

MESSAGE: Final = "workers/message"
LABEL: Final = "workers/tag"
ALIAS: Final = "workers/alias"
MAX_TAGS: Final = 32
MAX_TAG: Final = 255
MAX_FLAGS: Final = 64
MAX_ANNOTATIONS: Final = 16
MAX_ANNOTATION: Final = 1000
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_IDENTIFIER: Final = re.compile(r"[A-Za-z_]\w{0,99}", re.ASCII)
_UNSUPPORTED: Final = ("assets", "migrations", "tail_consumers", "exports")
"""Keys that change what a script can do and that this platform lacks: refused, never ignored."""
_IGNORED: Final = ("logpush", "placement", "usage_model", "cache_options", "observability")
"""Keys that change nothing here; the answer says so."""


class Metadata(msgspec.Struct, kw_only=True):
    """What an upload says about its modules."""

    main_module: str | None = None
    body_part: str | None = None
    bindings: list[dict[str, Any]] = []
    keep_bindings: list[str] = []
    compatibility_date: str = ""
    compatibility_flags: list[str] = []
    limits: dict[str, int] = {}
    tags: list[str] | None = None
    """None: the script keeps the tags it has."""
    annotations: dict[str, str] = {}
    entrypoint: str | None = None
    notes: list[str] = []
    """What was ignored, in words; not part of what clients send."""

    @property
    def named(self) -> str | None:
        """Name of the main module, if it is said."""
        return self.main_module or self.body_part

    @property
    def main(self) -> str:
        """Name of the main module. Raises BadUpload when none is named."""
        name = self.named
        if not name:
            raise BadUpload(
                "the metadata names no main_module", fix='add {"main_module": "entry.py"}'
            )
        return name


class Settings(msgspec.Struct, kw_only=True):
    """What is to change in a script's settings; None stays."""

    bindings: list[dict[str, Any]] | None = None
    compatibility_date: str | None = None
    compatibility_flags: list[str] | None = None
    limits: dict[str, int] | None = None
    tags: list[str] | None = None
    notes: list[str] = []
    """What was ignored, in words; not part of what clients send."""

    @property
    def versioned(self) -> bool:
        """Whether something changes that needs a new version."""
        return any(value is not None for value in self._versioned().values()) or (
            self.bindings is not None
        )

    def applied_to(self, version: Version, bindings: tuple[Binding, ...] | None) -> Version:
        """``version`` with these settings; ``bindings`` are ours, resolved."""
        given = {name: value for name, value in self._versioned().items() if value is not None}
        if bindings is not None:
            given["bindings"] = bindings
        return msgspec.structs.replace(version, **given)

    def _versioned(self) -> dict[str, Any]:
        flags = self.compatibility_flags
        return {
            "compatibility_date": self.compatibility_date,
            "compatibility_flags": None if flags is None else tuple(flags),
            "limits": self.limits,
        }


Document = TypeVar("Document", Metadata, Settings)


def parse_metadata(raw: bytes | Mapping[str, Any]) -> Metadata:
    """Metadata from JSON text, or from form fields whose values are all strings."""
    metadata = _parse(raw, Metadata, "metadata")
    if metadata.entrypoint is not None and not _IDENTIFIER.fullmatch(metadata.entrypoint):
        raise BadUpload(
            "entrypoint has to be the name of a callable in the main module", fix="such as app"
        )
    notes = metadata.annotations
    if len(notes) > MAX_ANNOTATIONS or any(len(text) > MAX_ANNOTATION for text in notes.values()):
        raise BadUpload(
            f"at most {MAX_ANNOTATIONS} annotations of {MAX_ANNOTATION} characters are allowed"
        )
    return metadata


def parse_settings(raw: bytes | Mapping[str, Any]) -> Settings:
    """Settings from JSON text, or from form fields whose values are all strings."""
    return _parse(raw, Settings, "settings")


def check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags, each once, in order. Raises BadUpload."""
    distinct = tuple(dict.fromkeys(tags))
    if len(distinct) > MAX_TAGS or any(not 0 < len(tag) <= MAX_TAG for tag in distinct):
        raise BadUpload(f"at most {MAX_TAGS} tags of 1 to {MAX_TAG} characters are allowed")
    return distinct


def _parse(raw: bytes | Mapping[str, Any], kind: type[Document], word: str) -> Document:
    try:
        document = msgspec.json.decode(raw) if isinstance(raw, bytes) else raw
        if not isinstance(document, Mapping):
            raise BadUpload(f"{word} has to be a JSON object")
        given = {key: value for key, value in document.items() if value is not None}
        given.pop("notes", None)
        parsed = msgspec.convert(given, kind, strict=isinstance(raw, bytes))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadUpload(f"{word} cannot be read: {error}", fix="send a JSON object") from None
    for key in _UNSUPPORTED:
        if given.get(key):
            raise BadUpload(
                f"{word} key {key!r} is not available on this platform", fix=f"remove {key!r}"
            )
    _check(parsed)
    parsed.notes = [f"{word} key {key!r} has no effect here" for key in _IGNORED if key in given]
    return parsed


def _check(document: Metadata | Settings) -> None:
    if document.compatibility_date and not _DATE.fullmatch(document.compatibility_date):
        raise BadUpload("compatibility_date has to look like 2026-01-31")
    flags = document.compatibility_flags or []
    if len(flags) > MAX_FLAGS or any(len(flag) > MAX_TAG for flag in flags):
        raise BadUpload(f"at most {MAX_FLAGS} compatibility_flags are allowed")
    if document.tags is not None:
        document.tags = list(check_tags(document.tags))
    _check_limits(document.limits or {})


def _check_limits(limits: Mapping[str, int]) -> None:
    known = Limits.__struct_fields__
    for name, value in limits.items():
        if name not in known:
            raise BadUpload(
                f"there is no limit {name[:60]!r}", fix=f"known limits: {', '.join(known)}"
            )
        least = 0 if name == "subrequests" else 1
        if not least <= value < 1 << 31:
            raise BadUpload(f"limit {name!r} has to be at least {least}")
