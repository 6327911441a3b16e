"""Bearer tokens."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gateway.accounts import Tokens, ensure_operator_token
from gateway.accounts.errors import TokenMissing
from gateway.errors import ControlError
from gateway.store.sqlite import SqliteStore
from tests.support.control import Control

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "fresh" / "w.db")


async def test_operator_token_is_told_once(store: SqliteStore) -> None:
    await store.open()
    try:
        token = await ensure_operator_token(store, None)
        assert token is not None
        assert token.startswith("wp_")
        assert len(token) >= 43
        assert await ensure_operator_token(store, None) is None
        principal = await Tokens(store).authenticate(token)
        assert principal is not None
        assert principal.is_operator
        assert principal.tenant is None
        assert all(token not in stored.hash for stored in await store.list_tokens(None))
    finally:
        await store.close()


async def test_preset_counts_on_the_first_start_only(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    await store.open()
    try:
        first = "wp_a-long-preset-operator-token"
        assert await ensure_operator_token(store, f" {first}\n") == first
        with caplog.at_level(logging.WARNING):
            assert await ensure_operator_token(store, first) is None
            assert caplog.records == []
            assert await ensure_operator_token(store, "another") is None
        assert "ignored" in caplog.text
        assert await Tokens(store).authenticate("another") is None
        assert await Tokens(store).authenticate(first) is not None
    finally:
        await store.close()


async def test_the_token_never_reaches_the_file(store: SqliteStore, tmp_path: Path) -> None:
    await store.open()
    token = await ensure_operator_token(store, None)
    await store.close()
    assert token is not None
    content = (tmp_path / "fresh" / "w.db").read_bytes()
    assert token.encode() not in content


async def test_weak_preset_is_warned_about(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    await store.open()
    with caplog.at_level(logging.WARNING):
        assert await ensure_operator_token(store, "short") == "short"
    await store.close()
    assert "may be guessed" in caplog.text


async def test_tenants_token(control: Control) -> None:
    tokens = control.services.tokens
    await control.tenant("acme")
    issued = await tokens.issue("acme", "ci")
    principal = await tokens.authenticate(issued.token)
    assert principal is not None
    assert (principal.is_operator, principal.tenant) == (False, "acme")
    with pytest.raises(TokenMissing):
        await tokens.revoke("beta", issued.id)
    await tokens.revoke("acme", issued.id)
    assert await tokens.authenticate(issued.token) is None


@pytest.mark.parametrize("bearer", ["", "nonsense", "x" * 513, "\udcff"])
async def test_nonsense_is_nobodys(control: Control, bearer: str) -> None:
    assert await control.services.tokens.authenticate(bearer) is None


async def test_long_labels_are_refused(control: Control) -> None:
    with pytest.raises(ControlError):
        await control.services.tokens.issue("acme", "x" * 101)
