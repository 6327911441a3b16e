"""Whose a script's name is, and that creating tenants takes no name away."""

from __future__ import annotations

import asyncio

import pytest

from gateway.accounts.errors import BadSlug, TenantConflict
from gateway.model.naming import is_label, owner_slugs
from gateway.model.script import Module, ScriptKey, Version
from tests.support.control import Control

pytestmark = pytest.mark.anyio


async def deploy(control: Control, name: str, tenant: str) -> None:
    await control.store.put_version(
        Version(
            id=f"{name}-1",
            key=ScriptKey("production", name),
            tenant=tenant,
            etag="",
            created_ms=1,
            main_module="a.py",
            modules=(Module("a.py", "text/x-python", b""),),
        )
    )


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("a", True),
        ("a-b-3", True),
        ("", False),
        ("-a", False),
        ("a-", False),
        ("a--b", False),
        ("A", False),
        ("a.b", False),
        ("ä", False),
        ("a\n", False),
        ("a" * 63, True),
        ("a" * 64, False),
    ],
)
async def test_labels(name: str, good: bool) -> None:
    assert is_label(name) is good


async def test_the_longest_slug_owns_a_name(control: Control) -> None:
    assert owner_slugs("acme-corp-x") == ["acme-corp-x", "acme-corp", "acme"]
    tenants = control.services.tenants
    await tenants.put("acme")
    assert (await tenants.owner_or_new("acme-corp-x")).slug == "acme"
    await tenants.put("acme-corp")
    for script, slug in [
        ("acme-corp-x", "acme-corp"),
        ("acme-corp", "acme-corp"),
        ("acme-corporate", "acme"),
        ("acme", "acme"),
    ]:
        owner = await tenants.owner_of(script)
        assert owner is not None
        assert owner.slug == slug
    assert await tenants.owner_of("acmes") is None


async def test_unowned_names_make_a_tenant_only_when_claimed(control: Control) -> None:
    tenants = control.services.tenants
    assert (await tenants.owner_or_new("new-thing")).slug == "new"
    assert await control.store.get_tenant("new") is None
    async with tenants.claim("new-thing") as owner:
        assert (owner.slug, owner.plan) == ("new", "free")
    assert await control.store.get_tenant("new") is not None
    with pytest.raises(BadSlug):
        await tenants.owner_or_new("api-thing")


@pytest.mark.parametrize("script", ["acme-corp", "acme-corp-x"])
async def test_a_new_slug_takes_no_script_away(control: Control, script: str) -> None:
    tenants = control.services.tenants
    await tenants.put("acme")
    await deploy(control, script, "acme")
    with pytest.raises(TenantConflict, match=script):
        await tenants.put("acme-corp")
    await tenants.put("acme-corporate")
    await control.store.delete_script(ScriptKey("production", script))
    await tenants.put("acme-corp")


async def test_a_shorter_slug_is_free_beside_a_longer_one(control: Control) -> None:
    tenants = control.services.tenants
    await tenants.put("acme-corp")
    await deploy(control, "acme-corp-x", "acme-corp")
    await tenants.put("acme")
    owner = await tenants.owner_of("acme-corp-x")
    assert owner is not None
    assert owner.slug == "acme-corp"


@pytest.mark.parametrize("host", ["beta.localhost", "beta-x.localhost"])
async def test_a_new_slug_finds_its_hostnames_free(control: Control, host: str) -> None:
    await control.tenant("acme")
    await control.services.hostnames.put(host, "acme", scope=None)
    await control.services.hostnames.put("beta-x.localhost.example", "acme", scope=None)
    with pytest.raises(TenantConflict, match=host):
        await control.services.tenants.put("beta")
    await control.services.hostnames.delete(host, scope=None)
    await control.services.tenants.put("beta")


async def test_a_claimed_name_is_not_taken_over_meanwhile(control: Control) -> None:
    tenants = control.services.tenants
    await tenants.put("acme")
    async with tenants.claim("acme-corp-x") as owner:
        creating = asyncio.create_task(tenants.put("acme-corp"))
        await deploy(control, "acme-corp-x", owner.slug)
        assert not creating.done()
    with pytest.raises(TenantConflict):
        await creating
