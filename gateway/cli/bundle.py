"""Collecting the files of a project as modules of a bundle."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from pathlib import Path

import msgspec

from gateway.cli.output import CliError
from gateway.cli.project import CONFIG_FILES, Project

_SKIPPED_DIRECTORIES = frozenset({"__pycache__", "node_modules", "venv", "__pypackages__"})
_SKIPPED_FILES = frozenset({*CONFIG_FILES, "package.json", "package-lock.json", "uv.lock"})
_SKIPPED_SUFFIXES = frozenset({".pyc", ".pyo"})
_TEXT = frozenset({"application/json", "application/xml", "application/toml", "image/svg+xml"})


class ModuleFile(msgspec.Struct, frozen=True):
    """One module: its name inside the bundle and its content."""

    name: str
    content_type: str
    content: bytes


def collect(project: Project) -> list[ModuleFile]:
    """Every file that goes up, the main module first.

    Dot files, virtual environments and byte code stay behind, and so does a symbolic link that
    leaves the project: following it could publish a file nobody meant to publish.
    """
    files = {project.main.name: project.main}
    if not project.single_file:
        files |= dict(_walk(project.root, project.root))
        # Where `pywrangler` vendors packages: beside the configuration, not beside the main module.
        vendored = project.directory / "python_modules"
        if vendored.is_dir() and project.directory != project.root:
            files |= dict(_walk(vendored, project.directory))
    return [_read(name, path) for name, path in files.items()]


def total_bytes(modules: list[ModuleFile]) -> int:
    """Size of all modules together."""
    return sum(len(module.content) for module in modules)


def _walk(directory: Path, base: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(directory.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(base.resolve()):
            raise CliError(
                f"{path} is a link that leaves the project",
                fix="copy the file into the project, or remove the link",
            )
        if path.is_dir():
            if path.name not in _SKIPPED_DIRECTORIES and not (path / "pyvenv.cfg").exists():
                # A link to a directory inside the project is uploaded where it really lies.
                yield from () if path.is_symlink() else _walk(path, base)
        elif path.is_file() and _wanted(path):
            yield path.relative_to(base).as_posix(), path


def _wanted(path: Path) -> bool:
    return path.name not in _SKIPPED_FILES and path.suffix not in _SKIPPED_SUFFIXES


def _read(name: str, path: Path) -> ModuleFile:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror}") from error
    return ModuleFile(name, _content_type(path), content)


def _content_type(path: Path) -> str:
    if path.suffix == ".py":
        return "text/x-python"
    guessed = mimetypes.guess_type(path.name)[0] or ""
    is_text = guessed.startswith("text/") or guessed in _TEXT
    return "text/plain" if is_text else "application/octet-stream"
