"""Which node a command talks to, and with which token.

A token found in the credentials file is sent only to the node it was stored for.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gateway.cli.output import CliError

DEFAULT_API = "http://127.0.0.1:8788"
API_VARIABLE = "WAYPOST_API"
TOKEN_VARIABLES = ("WAYPOST_TOKEN", "WAYPOST_OPERATOR_TOKEN", "WAYPOST_API_TOKEN")


class Credentials(msgspec.Struct):
    """The content of the credentials file."""

    current: str = ""
    """The node that commands talk to when they name none."""
    nodes: dict[str, str] = {}
    """Token of each node, by the URL of its control API."""


class Target(msgspec.Struct, frozen=True):
    """A node's control API and the token for it, if one is known."""

    api: str
    token: str | None = None


def credentials_path(env: Mapping[str, str]) -> Path:
    """The file that ``waypost login`` writes."""
    base = env.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(base) / "waypost" / "credentials.json"


def load_credentials(path: Path) -> Credentials:
    """Read the credentials file; empty when there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Credentials)
    except FileNotFoundError:
        return Credentials()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CliError(
            f"{path} is not a credentials file: {error}",
            fix=f"remove it with `rm {path}` and log in again with `waypost login`",
        ) from error
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror}") from error


def save_credentials(path: Path, credentials: Credentials) -> None:
    """Write the credentials file, readable by its owner only, in one step."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp creates with mode 0600: the token is never readable by others, not even briefly.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".credentials-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(msgspec.to_builtins(credentials), file, indent=2)
            file.write("\n")
        os.replace(name, path)
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror}") from error


def normalise_api(api: str) -> str:
    """The URL of a control API without its trailing slash."""
    api = api.strip().rstrip("/")
    if not api.startswith(("http://", "https://")):
        raise CliError(
            f"{api!r} is not the URL of a control API",
            fix=f"write it with its scheme, e.g. {DEFAULT_API}",
            status=2,
        )
    return api


def find_target(api: str | None, token: str | None, env: Mapping[str, str]) -> Target:
    """Decide whom to talk to: what the command names, then the environment, then ``login``."""
    stored = load_credentials(credentials_path(env))
    chosen = normalise_api(api or env.get(API_VARIABLE) or stored.current or DEFAULT_API)
    if token:
        return Target(chosen, token)
    for variable in TOKEN_VARIABLES:
        if env.get(variable):
            return Target(chosen, env[variable])
    return Target(chosen, stored.nodes.get(chosen))
