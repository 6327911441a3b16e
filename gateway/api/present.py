"""Stored values as the JSON that clients know."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway.catalog import RoutedHostname
from gateway.catalog.bindings import SECRET
from gateway.config import Config
from gateway.model.script import Binding, Namespace, Script, Tenant, Version


def timestamp(milliseconds: int) -> str:
    """UTC, always the same length, so that clients may sort the strings."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def urls(config: Config, script: Script) -> list[str]:
    """Where a script answers below the base domain."""
    if script.key.namespace != config.default_namespace:
        return []
    host = f"{script.key.name}.{config.routing.base_domain}"
    port = "" if config.listen.port == 80 else f":{config.listen.port}"
    return [f"http://{host}{port}"]


def namespace_json(namespace: Namespace, scripts: int) -> dict[str, Any]:
    """Cloudflare's dispatch namespace."""
    created = timestamp(namespace.created_ms)
    return {
        "namespace_id": namespace.id,
        "namespace_name": namespace.name,
        "script_count": scripts,
        "trusted_workers": False,
        "created_on": created,
        "modified_on": created,
    }


def script_json(config: Config, script: Script) -> dict[str, Any]:
    """Cloudflare's script, with what we add under ``waypost``."""
    return {
        "id": script.key.name,
        "deployment_id": script.version_id,
        "etag": script.etag,
        "tags": script.tags,
        "handlers": script.handlers,
        "created_on": timestamp(script.created_ms),
        "modified_on": timestamp(script.modified_ms),
        "has_modules": True,
        "has_assets": False,
        "logpush": False,
        "usage_model": "standard",
        "dispatch_namespace": script.key.namespace,
        "waypost": {"urls": urls(config, script), "tenant": script.tenant},
    }


def update_json(config: Config, script: Script, version: Version) -> dict[str, Any]:
    """Cloudflare's ScriptUpdateResponse."""
    return script_json(config, script) | {
        "startup_time_ms": version.startup_ms,
        "entry_point": version.main_module,
        "compatibility_date": version.compatibility_date,
        "compatibility_flags": version.compatibility_flags,
    }


def settings_json(version: Version) -> dict[str, Any]:
    """Cloudflare's script settings."""
    return {
        "bindings": [binding_json(binding) for binding in version.bindings],
        "compatibility_date": version.compatibility_date,
        "compatibility_flags": version.compatibility_flags,
        "limits": version.limits,
        "tags": version.tags,
        "tail_consumers": [],
        "logpush": False,
        "usage_model": "standard",
    }


def binding_json(binding: Binding) -> dict[str, Any]:
    """A binding, a secret's value left out."""
    shown: dict[str, Any] = {"name": binding.name, "type": binding.type}
    if binding.type == "plain_text":
        shown["text"] = binding.text
    elif binding.type == "json":
        shown["json"] = binding.json
    return shown


def secret_names(version: Version) -> list[dict[str, str]]:
    """The secrets of a version, without their values."""
    return [
        {"name": binding.name, "type": binding.type}
        for binding in version.bindings
        if binding.type == SECRET
    ]


def tenant_json(tenant: Tenant) -> dict[str, Any]:
    """A tenant."""
    return {
        "slug": tenant.slug,
        "plan": tenant.plan,
        "status": tenant.status,
        "name": tenant.name,
        "created_on": timestamp(tenant.created_ms),
    }


def route_json(routed: RoutedHostname) -> dict[str, Any]:
    """A route."""
    return {
        "hostname": routed.hostname,
        "script": routed.record.worker_name,
        "namespace": routed.record.namespace,
        "tenant": routed.record.tenant,
    }
