"""Bindings of a new version."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.catalog.bindings import resolve_bindings
from gateway.catalog.errors import (
    BadUpload,
    BindingUnavailable,
    BindingUnnamed,
    InheritMissing,
    TooManyBindings,
    VariableTooLarge,
)
from gateway.errors import ControlError
from gateway.model.script import Binding

OLD = (
    Binding("J", "json", json={"a": 1}),
    Binding("P", "plain_text", "old"),
    Binding("S", "secret_text", "hush"),
)


def values(raw: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    return {item.name: item.value for item in resolve_bindings(raw, OLD, **options)}


def test_values_by_type() -> None:
    raw: list[dict[str, Any]] = [
        {"name": "A", "type": "plain_text", "text": ""},
        {"name": "B", "type": "json", "json": None},
        {"name": "C", "type": "secret_text", "text": "c"},
    ]
    assert values(raw) == {"A": "", "B": None, "C": "c", "S": "hush"}


def test_secrets_live_on_and_variables_do_not() -> None:
    assert values([]) == {"S": "hush"}
    assert values([{"name": "S", "type": "plain_text", "text": "now open"}]) == {"S": "now open"}


def test_keep_bindings() -> None:
    assert values([], keep_types=["plain_text"]) == {"P": "old", "S": "hush"}
    raw = [{"name": "P", "type": "plain_text", "text": "new"}]
    assert values(raw, keep_types=["plain_text"])["P"] == "new"


def test_inherit_is_resolved() -> None:
    raw: list[dict[str, Any]] = [
        {"name": "P", "type": "inherit"},
        {"name": "J2", "type": "inherit", "old_name": "J"},
    ]
    assert values(raw) == {"P": "old", "J2": {"a": 1}, "S": "hush"}
    assert values([{"name": "X", "type": "inherit"}]) == {"S": "hush"}
    with pytest.raises(InheritMissing):
        values([{"name": "X", "type": "inherit"}], strict=True)


def test_name_and_type_without_value_keep_the_old_one() -> None:
    assert values([{"name": "P", "type": "plain_text"}])["P"] == "old"
    with pytest.raises(BadUpload, match="'text'"):
        values([{"name": "X", "type": "plain_text"}])
    with pytest.raises(BadUpload):
        values([{"name": "P", "type": "json"}])


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        ([{"type": "plain_text", "text": ""}], BindingUnnamed),
        ([{"name": 5, "type": "plain_text", "text": ""}], BindingUnnamed),
        ([{"name": "a b", "type": "plain_text", "text": ""}], BindingUnnamed),
        ([{"name": "A", "type": "plain_text", "text": ""}] * 2, BindingUnnamed),
        ([{"name": "A", "type": "d1", "id": "1"}], BindingUnavailable),
        ([{"name": "A"}], BindingUnavailable),
        ([{"name": "A", "type": {"x": 1}}], BindingUnavailable),
        ([{"name": "A", "type": "plain_text", "text": 5}], BadUpload),
        ([{"name": "A", "type": "json", "json": {"n": 1 << 80}}], BadUpload),
        ([{"name": "A", "type": "plain_text", "text": "\ud800"}], BadUpload),
        ([{"name": "A", "type": "json", "json": ["x" * 140_000]}], VariableTooLarge),
        (
            [{"name": f"A{number}", "type": "plain_text", "text": ""} for number in range(129)],
            TooManyBindings,
        ),
    ],
)
def test_refusals(raw: list[dict[str, Any]], error: type[ControlError]) -> None:
    with pytest.raises(error):
        resolve_bindings(raw)
