"""The ``metadata`` of an upload: what Cloudflare's clients send, of which we use a part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.catalog.errors import BadUpload
from gateway.model.plan import Limits

MAX_TAGS: Final = 32
MAX_TAG: Final = 255
MAX_FLAGS: Final = 64
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
    tags: list[str] = []
    entrypoint: str | None = None
    notes: list[str] = []
    """What was ignored, in words; not part of what clients send."""

    @property
    def main(self) -> str:
        """Name of the main module. Raises BadUpload when none is named."""
        name = self.main_module or self.body_part
        if not name:
            raise BadUpload(
                "the metadata names no main_module", fix='add {"main_module": "entry.py"}'
            )
        return name


def parse_metadata(raw: bytes | Mapping[str, Any]) -> Metadata:
    """Metadata from JSON text, or from form fields whose values are all strings."""
    try:
        document = msgspec.json.decode(raw) if isinstance(raw, bytes) else raw
        if not isinstance(document, Mapping):
            raise BadUpload("metadata has to be a JSON object")
        given = {key: value for key, value in document.items() if value is not None}
        given.pop("notes", None)
        metadata = msgspec.convert(given, Metadata, strict=isinstance(raw, bytes))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadUpload(f"metadata cannot be read: {error}", fix="send a JSON object") from None
    for key in _UNSUPPORTED:
        if given.get(key):
            raise BadUpload(
                f"metadata key {key!r} is not available on this platform", fix=f"remove {key!r}"
            )
    _check(metadata)
    metadata.notes = [
        f"metadata key {key!r} has no effect here" for key in _IGNORED if key in given
    ]
    return metadata


def _check(metadata: Metadata) -> None:
    if metadata.compatibility_date and not _DATE.fullmatch(metadata.compatibility_date):
        raise BadUpload("compatibility_date has to look like 2026-01-31")
    if metadata.entrypoint is not None and not _IDENTIFIER.fullmatch(metadata.entrypoint):
        raise BadUpload(
            "entrypoint has to be the name of a callable in the main module", fix="such as app"
        )
    if len(metadata.compatibility_flags) > MAX_FLAGS or any(
        len(flag) > MAX_TAG for flag in metadata.compatibility_flags
    ):
        raise BadUpload(f"at most {MAX_FLAGS} compatibility_flags are allowed")
    if len(metadata.tags) > MAX_TAGS or any(not 0 < len(tag) <= MAX_TAG for tag in metadata.tags):
        raise BadUpload(f"at most {MAX_TAGS} tags of 1 to {MAX_TAG} characters are allowed")
    _check_limits(metadata.limits)


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
