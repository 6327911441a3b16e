"""Reading a project: ``wrangler.jsonc``, ``wrangler.json`` or ``wrangler.toml``, or one file.

Only what a Python script on this platform can use is read; what else the file asks for is listed in
:attr:`Project.ignored`, so that ``deploy`` can say it instead of dropping it silently.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from gateway.cli import jsonc
from gateway.cli.output import CliError

CONFIG_FILES = ("wrangler.jsonc", "wrangler.json", "wrangler.toml")
_USUAL_MAINS = ("src/entry.py", "entry.py", "src/main.py", "main.py", "app.py", "src/app.py")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_HARMLESS = frozenset(
    {
        "$schema",
        "account_id",
        "workers_dev",
        "preview_urls",
        "dev",
        "observability",
        "rules",
        "minify",
    }
    | {"no_bundle", "find_additional_modules", "upload_source_maps", "send_metrics", "keep_vars"}
)


class Triggers(msgspec.Struct, frozen=True, kw_only=True):
    """What calls the script beside its hostname."""

    crons: list[str] | None = None
    """None: what is set stays."""


class WranglerConfig(msgspec.Struct, kw_only=True):
    """The keys of a wrangler configuration that are used; ``entrypoint`` and ``tags`` are ours."""

    name: str = ""
    main: str = ""
    compatibility_date: str = ""
    compatibility_flags: list[str] = []
    vars: dict[str, Any] = {}
    limits: dict[str, int] = {}
    tags: list[str] = []
    entrypoint: str | None = None
    triggers: Triggers = Triggers()


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """What ``deploy`` uploads."""

    name: str
    main: Path
    """The main module, absolute."""
    root: Path
    """The main module's directory; module names are relative to it."""
    directory: Path
    """Where the configuration lies."""
    single_file: bool = False
    """Upload nothing but the main module."""
    config: WranglerConfig
    ignored: tuple[str, ...] = ()
    """Keys of the configuration that this platform does not serve."""


def load_project(target: Path, name: str | None) -> Project:
    """Read the project in directory ``target``, or take a single file; ``name`` overrides."""
    if not target.exists():
        raise CliError(
            f"{target} does not exist", fix="make a project with `waypost init NAME`", status=2
        )
    if target.is_file() and target.name not in CONFIG_FILES:
        return _single_file(target, name)
    directory = target.parent if target.is_file() else target
    config, ignored = _find_config(directory)
    main = _find_main(directory, config.main)
    return Project(
        name=check_name(name or config.name or directory.resolve().name),
        main=main,
        root=main.parent,
        directory=directory.resolve(),
        config=config,
        ignored=ignored,
    )


def check_name(name: str) -> str:
    """Refuse what cannot be a script's name."""
    if not _NAME.fullmatch(name):
        raise CliError(
            f"{name!r} cannot be a script's name",
            fix="use lower-case letters, digits and hyphens, e.g. --name acme-shop",
            status=2,
        )
    return name


def _single_file(target: Path, name: str | None) -> Project:
    if target.suffix != ".py":
        raise CliError(
            f"{target} is not a Python file", fix="give a .py file or a directory", status=2
        )
    main = target.resolve()
    return Project(
        name=check_name(name or target.stem.replace("_", "-")),
        main=main,
        root=main.parent,
        directory=main.parent,
        single_file=True,
        config=WranglerConfig(),
    )


def _find_config(directory: Path) -> tuple[WranglerConfig, tuple[str, ...]]:
    for file_name in CONFIG_FILES:
        path = directory / file_name
        if path.is_file():
            return _read_config(path)
    return WranglerConfig(), ()


def _read_config(path: Path) -> tuple[WranglerConfig, tuple[str, ...]]:
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text) if path.suffix == ".toml" else jsonc.loads(text)
    except json.JSONDecodeError as error:
        raise CliError(f"{path}:{error.lineno}:{error.colno}: {error.msg}", status=2) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CliError(f"{path}: {error}", status=2) from error
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror}", status=2) from error
    try:
        config = msgspec.convert(raw, WranglerConfig)
    except msgspec.ValidationError as error:
        raise CliError(f"{path}: {error}", status=2) from error
    known = {*WranglerConfig.__struct_fields__, *_HARMLESS}
    return config, tuple(key for key, value in raw.items() if key not in known and value)


def _find_main(directory: Path, configured: str) -> Path:
    candidates = (configured,) if configured else _USUAL_MAINS
    for candidate in candidates:
        path = directory / candidate
        if path.is_file():
            return path.resolve()
    if configured:
        raise CliError(
            f"{directory / configured} does not exist",
            fix='correct "main" in the configuration: it names the main module',
            status=2,
        )
    raise CliError(
        f"found nothing to deploy in {directory}",
        fix=f"name the main module: waypost deploy FILE.py, or add {CONFIG_FILES[0]} with "
        '{"name": "…", "main": "src/entry.py"}',
        status=2,
    )
