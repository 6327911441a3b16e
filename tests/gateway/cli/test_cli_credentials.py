from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from gateway.cli.credentials import (
    Credentials,
    Target,
    credentials_path,
    find_target,
    load_credentials,
    save_credentials,
)
from gateway.cli.output import CliError


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def test_the_file_is_its_owners_only(env: dict[str, str]) -> None:
    path = credentials_path(env)
    save_credentials(path, Credentials("http://a", {"http://a": "t"}))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert load_credentials(path) == Credentials("http://a", {"http://a": "t"})
    assert [entry.name for entry in path.parent.iterdir()] == ["credentials.json"]


def test_a_stored_token_goes_only_to_its_node(env: dict[str, str]) -> None:
    save_credentials(credentials_path(env), Credentials("http://a", {"http://a": "t"}))
    assert find_target(None, None, env) == Target("http://a", "t")
    assert find_target("http://a/", None, env) == Target("http://a", "t")
    assert find_target("http://b", None, env) == Target("http://b", None)
    assert find_target(None, None, {**env, "WAYPOST_API": "http://b"}).token is None


@pytest.mark.parametrize("name", ["WAYPOST_TOKEN", "WAYPOST_OPERATOR_TOKEN", "WAYPOST_API_TOKEN"])
def test_what_is_given_wins_over_what_is_stored(env: dict[str, str], name: str) -> None:
    save_credentials(credentials_path(env), Credentials("http://a", {"http://a": "t"}))
    assert find_target(None, None, {**env, name: "e"}).token == "e"
    assert find_target(None, "given", {**env, name: "e"}).token == "given"


def test_without_anything_it_is_the_local_node(env: dict[str, str]) -> None:
    assert find_target(None, None, env) == Target("http://127.0.0.1:8788", None)


def test_a_broken_file_is_named(env: dict[str, str]) -> None:
    path = credentials_path(env)
    path.parent.mkdir()
    path.write_text(json.dumps([1]))
    with pytest.raises(CliError, match="not a credentials file"):
        find_target(None, None, env)


def test_an_address_without_scheme_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(CliError, match="not the URL"):
        find_target("localhost:8788", None, env)
