"""From an upload to the version it describes."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from gateway.catalog.bindings import resolve_bindings
from gateway.catalog.metadata import ALIAS, LABEL, MESSAGE, Metadata
from gateway.catalog.modules import check_modules, find_main, is_javascript
from gateway.catalog.previews import check_alias
from gateway.config import Upload as UploadLimits
from gateway.model.script import JAVASCRIPT, WORKER, Module, ScriptKey, Version


@dataclass(frozen=True, slots=True)
class Upload:
    """What a client sent."""

    metadata: Metadata
    modules: tuple[Module, ...]
    strict_inherit: bool = False
    """Whether an ``inherit`` binding without a counterpart is an error."""


def build_version(
    upload: Upload, key: ScriptKey, tenant: str, previous: Version | None, limits: UploadLimits
) -> Version:
    """The version that an upload describes, checked but not started."""
    metadata = upload.metadata
    modules = check_modules(upload.modules, limits)
    main = _main(modules, metadata.main, limits)
    bindings = resolve_bindings(
        metadata.bindings,
        previous.bindings if previous else (),
        keep_types=metadata.keep_bindings,
        strict=upload.strict_inherit,
    )
    return stamp(
        Version(
            id="",
            key=key,
            tenant=tenant,
            etag="",
            created_ms=0,
            main_module=main.name,
            modules=modules,
            kind=_kind(main),
            entrypoint=metadata.entrypoint,
            bindings=bindings,
            limits=metadata.limits,
            compatibility_date=metadata.compatibility_date,
            compatibility_flags=tuple(metadata.compatibility_flags),
            tags=tuple(metadata.tags or ()),
            message=metadata.annotations.get(MESSAGE, ""),
            label=metadata.annotations.get(LABEL, ""),
            alias=check_alias(metadata.annotations.get(ALIAS, ""), key.name),
        )
    )


def with_code(
    version: Version, modules: tuple[Module, ...], main: str | None, limits: UploadLimits
) -> Version:
    """The same settings around other code; ``main`` None: the main module keeps its name."""
    modules = check_modules(modules, limits)
    found = _main(modules, main or version.main_module, limits)
    return msgspec.structs.replace(
        version, modules=modules, main_module=found.name, kind=_kind(found)
    )


def _main(modules: tuple[Module, ...], name: str, limits: UploadLimits) -> Module:
    return find_main(modules, name, javascript=limits.javascript == "store")


def _kind(main: Module) -> str:
    """What is known before it is started; what never is keeps it."""
    return JAVASCRIPT if is_javascript(main) else WORKER


def changed(version: Version, triggered_by: str) -> Version:
    """A version of its own, made by ``triggered_by`` instead of an upload."""
    return stamp(
        msgspec.structs.replace(
            version, triggered_by=triggered_by, message="", label="", alias="", number=0
        )
    )


def stamp(version: Version) -> Version:
    """Give a version its own id, time and etag."""
    return msgspec.structs.replace(
        version,
        id=str(uuid.uuid4()),
        created_ms=time.time_ns() // 1_000_000,
        etag=_etag(version),
    )


def _etag(version: Version) -> str:
    """Digest of the code, the same for the same modules."""
    digest = sha256(version.main_module.encode())
    for module in sorted(version.modules, key=lambda module: module.name):
        digest.update(f"\0{module.name}\0{len(module.content)}\0".encode())
        digest.update(module.content)
    return digest.hexdigest()
