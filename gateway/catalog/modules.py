"""The files of a bundle: which names, how many, how large, and which one is the main module."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from gateway.catalog.errors import BadUpload, NoJavaScript, UploadTooLarge
from gateway.config import Upload as UploadLimits
from gateway.model.script import Module

MAX_MODULE_NAME: Final = 255
OCTETS: Final = "application/octet-stream"
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64}", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\\]")
_JAVASCRIPT: Final = frozenset(
    {
        "application/javascript+module",
        "text/javascript+module",
        "application/javascript",
        "text/javascript",
    }
)
_JAVASCRIPT_SUFFIXES: Final = (".js", ".mjs", ".cjs", ".ts")


def canonical_name(name: str) -> str:
    """A module's name without the ``./`` that bundlers write. Raises BadUpload when unsafe."""
    name = name.removeprefix("./")
    parts = name.split("/")
    if len(name) > MAX_MODULE_NAME or _CONTROL.search(name) or not _encodable(name):
        raise BadUpload(
            f"module name {name[:80]!r} is not allowed",
            fix=f"use a relative path of at most {MAX_MODULE_NAME} characters with forward slashes",
        )
    if any(part in ("", ".", "..") for part in parts):
        raise BadUpload(
            f"module name {name[:80]!r} is not a plain relative path",
            fix="use a path inside the bundle, such as pkg/util.py",
        )
    return name


def check_modules(modules: Sequence[Module], limits: UploadLimits) -> tuple[Module, ...]:
    """The modules under canonical names, once their count, size and names are right."""
    if len(modules) > limits.max_modules:
        raise UploadTooLarge(
            f"{len(modules)} modules are more than the {limits.max_modules} allowed",
            fix="upload fewer files, or ask the operator to raise upload.max_modules",
        )
    size = sum(len(module.content) for module in modules)
    if size > limits.max_mb << 20:
        raise UploadTooLarge(
            f"the modules have {size} bytes, more than the {limits.max_mb} MiB allowed",
            fix="upload less, or ask the operator to raise upload.max_mb",
        )
    clean = tuple(
        Module(canonical_name(module.name), media_type(module.content_type), module.content)
        for module in modules
    )
    _check_distinct([module.name for module in clean])
    return clean


def media_type(value: str) -> str:
    """The media type without its parameters; ``application/octet-stream`` when it is none."""
    bare = value.split(";", 1)[0].strip().lower()
    return bare if _MEDIA_TYPE.fullmatch(bare) else OCTETS


def find_main(modules: Sequence[Module], name: str, *, javascript: bool = False) -> Module:
    """The main module. Raises BadUpload or NoJavaScript when this node cannot run it.

    ``javascript``: it may be JavaScript all the same.
    """
    name = canonical_name(name)
    main = next((module for module in modules if module.name == name), None)
    if main is None:
        there = ", ".join(sorted(module.name for module in modules)[:5]) or "none"
        raise BadUpload(
            f"main module {name!r} is not among the uploaded modules ({there})",
            fix="name one of the uploaded files in main_module",
        )
    if is_javascript(main):
        if javascript:
            return main
        raise NoJavaScript(
            f"main module {name!r} is JavaScript, and this node has no JavaScript runtime",
            fix="deploy a Python worker: a main module that ends in .py",
        )
    if not name.endswith(".py"):
        raise BadUpload(
            f"main module {name!r} is not a Python file", fix="its name has to end in .py"
        )
    return main


def is_javascript(main: Module) -> bool:
    """Whether a main module is what this node has no runtime for."""
    return main.content_type in _JAVASCRIPT or main.name.endswith(_JAVASCRIPT_SUFFIXES)


def _check_distinct(names: list[str]) -> None:
    files = set(names)
    if len(files) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadUpload(f"module {twice!r} is uploaded twice", fix="give every file its own name")
    for name in names:
        folder = name
        while "/" in folder:
            folder = folder.rsplit("/", 1)[0]
            if folder in files:
                raise BadUpload(f"{folder!r} is both a module and the folder of {name!r}")


def _encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
