"""Stored values as the JSON that clients know."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway.catalog import RoutedHostname
from gateway.catalog.bindings import SECRET
from gateway.catalog.metadata import ALIAS
from gateway.catalog.previews import preview_labels
from gateway.config import Config
from gateway.model.claim import HTTP_PATH, TXT_NAME
from gateway.model.script import Binding, Deployment, Namespace, Script, Share, Tenant, Version
from gateway.store.base import StoredToken


def timestamp(milliseconds: int) -> str:
    """UTC, always the same length, so that clients may sort the strings."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def urls(config: Config, script: Script) -> list[str]:
    """Where a script answers below the base domain."""
    if script.key.namespace != config.default_namespace:
        return []
    return [_url(config, script.key.name)]


def _url(config: Config, label: str) -> str:
    port = "" if config.listen.port == 80 else f":{config.listen.port}"
    return f"http://{label}.{config.routing.base_domain}{port}"


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


def unversioned_json(script: Script) -> dict[str, Any]:
    """The settings that belong to the script, whatever version serves."""
    return {
        "tags": script.tags,
        "tail_consumers": [],
        "logpush": False,
        "observability": {"enabled": False},
    }


def version_json(config: Config, version: Version) -> dict[str, Any]:
    """Cloudflare's version."""
    created = timestamp(version.created_ms)
    annotations = {"workers/triggered_by": _trigger(version.triggered_by)}
    if version.message:
        annotations["workers/message"] = version.message
    if version.label:
        annotations["workers/tag"] = version.label
    if version.alias:
        annotations[ALIAS] = version.alias
    previews = [_url(config, label) for label in preview_labels(config, version)]
    email = f"{version.tenant}@{config.routing.base_domain}"
    return {
        "id": version.id,
        "number": version.number,
        "metadata": {
            "created_on": created,
            "modified_on": created,
            "source": "api",
            "author_id": version.tenant,
            "author_email": email,
            "has_preview": bool(previews),
        },
        "waypost": {"preview_urls": previews},
        "annotations": annotations,
        "startup_time_ms": version.startup_ms,
        "entry_point": version.main_module,
        "resources": {
            "bindings": [binding_json(binding) for binding in version.bindings],
            "script": {
                "etag": version.etag,
                "handlers": version.handlers,
                "last_deployed_from": "wrangler",
            },
            "script_runtime": {
                "compatibility_date": version.compatibility_date,
                "compatibility_flags": version.compatibility_flags,
                "limits": version.limits,
                "usage_model": "standard",
            },
        },
    }


def deployment_json(deployment: Deployment, email: str) -> dict[str, Any]:
    """Cloudflare's deployment."""
    annotations = {"workers/triggered_by": _trigger(deployment.triggered_by)}
    if deployment.message:
        annotations["workers/message"] = deployment.message
    return {
        "id": deployment.id,
        "created_on": timestamp(deployment.created_ms),
        "source": "api",
        "strategy": "percentage",
        "author_email": email,
        "versions": [
            {"version_id": share.version_id, "percentage": share.percentage}
            for share in deployment.split or (Share(deployment.version_id, 100),)
        ],
        "annotations": annotations,
    }


def _trigger(word: str) -> str:
    """One of the words that clients know."""
    return word if word in ("secret", "promotion", "rollback") else "upload"


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


def token_json(token: StoredToken) -> dict[str, Any]:
    """A token, without anything that could be used as one."""
    return {
        "id": token.id,
        "label": token.label,
        "scope": token.scope,
        "script": token.script,
        "created_on": timestamp(token.created_ms),
        "expires_on": timestamp(token.expires_ms) if token.expires_ms is not None else None,
        "last_used_on": timestamp(token.used_ms) if token.used_ms is not None else None,
    }


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
    """A route; one that waits with what its tenant has to publish, in Cloudflare's words."""
    shown: dict[str, Any] = {
        "hostname": routed.hostname,
        "script": routed.record.worker_name,
        "namespace": routed.record.namespace,
        "tenant": routed.record.tenant,
        "status": "active",
    }
    claim = routed.claim
    if claim is not None:
        shown["status"] = "pending"
        shown["ownership_verification"] = {
            "type": "txt",
            "name": f"{TXT_NAME}.{routed.hostname}",
            "value": claim.proof,
        }
        shown["ownership_verification_http"] = {
            "http_url": f"http://{routed.hostname}{HTTP_PATH}/{claim.id}",
            "http_body": claim.proof,
        }
        if routed.problem:
            shown["verification_errors"] = [routed.problem]
    return shown
