"""Sending a bundle to the control API: what ``waypost deploy`` and ``waypost demo`` share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from gateway.cli.bundle import ModuleFile
from gateway.cli.client import ControlClient
from gateway.cli.project import Project

_CHUNK = 64 * 1024

Progress = Callable[[int, int], None]
"""Called with bytes sent and bytes in all."""


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle with what the command line adds to the project's configuration."""

    project: Project
    modules: list[ModuleFile]
    secrets: dict[str, str] = {}
    variables: dict[str, str] = {}

    def metadata(self) -> dict[str, Any]:
        """The ``metadata`` part of the upload."""
        config = self.project.config
        given: dict[str, Any] = {
            "compatibility_date": config.compatibility_date,
            "compatibility_flags": config.compatibility_flags,
            "limits": config.limits,
            "tags": config.tags,
            "entrypoint": config.entrypoint,
        }
        return {
            "main_module": self.project.main.name,
            "bindings": self._bindings(),
            # What a deploy does not mention stays: secrets are not in the project's files.
            "keep_bindings": ["secret_text"],
            **{name: value for name, value in given.items() if value},
        }

    def _bindings(self) -> list[dict[str, Any]]:
        variables = {**self.project.config.vars, **self.variables}
        plain = [_variable(name, value) for name, value in variables.items()]
        secrets = [
            {"name": name, "type": "secret_text", "text": text}
            for name, text in self.secrets.items()
        ]
        return [*plain, *secrets]


def send(client: ControlClient, path: str, upload: Upload, progress: Progress) -> dict[str, Any]:
    """PUT the bundle to a script's path; returns what the API says of the new version."""
    metadata = json.dumps(upload.metadata()).encode()
    parts: list[tuple[str, tuple[str | None, bytes, str]]] = [
        ("metadata", (None, metadata, "application/json"))
    ]
    parts += [(m.name, (m.name, m.content, m.content_type)) for m in upload.modules]
    body, content_type = client.encode_multipart(parts)
    headers = {"content-type": content_type, "content-length": str(len(body))}
    result = client.send("PUT", path, _counted(body, progress), headers)
    return result if isinstance(result, dict) else {}


def _counted(body: bytes, progress: Progress) -> Iterator[bytes]:
    for start in range(0, len(body), _CHUNK):
        chunk = body[start : start + _CHUNK]
        yield chunk
        progress(start + len(chunk), len(body))


def _variable(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"name": name, "type": "plain_text", "text": value}
    return {"name": name, "type": "json", "json": value}
