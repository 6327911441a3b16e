"""What the audit log calls each change."""

from __future__ import annotations

from typing import Final

from gateway.api.paths import ACCOUNT, NAMESPACES, SCRIPT, SCRIPTS, WORKER

_ON_SCRIPT: Final = {
    ("PUT", ""): "script.deploy",
    ("DELETE", ""): "script.delete",
    ("PUT", "/content"): "script.content",
    ("POST", "/versions"): "version.upload",
    ("POST", "/deployments"): "script.promote",
    ("PATCH", "/settings"): "script.settings",
    ("PUT", "/schedules"): "script.schedules",
    ("PUT", "/tags"): "script.tags",
    ("PUT", "/tags/{tag:path}"): "script.tags",
    ("DELETE", "/tags/{tag:path}"): "script.tags",
    ("PUT", "/secrets"): "secret.put",
    ("PATCH", "/secrets-bulk"): "secret.bulk",
    ("DELETE", "/secrets/{secret}"): "secret.delete",
    ("POST", "/tails"): "tail.create",
    ("DELETE", "/tails/{tail}"): "tail.delete",
}
_OTHERS: Final = {
    ("PATCH", f"{WORKER}/script-settings"): "script.settings",
    ("POST", f"{WORKER}/subdomain"): "script.subdomain",
    ("POST", f"{WORKER}/domains/changeset"): "route.plan",
    ("PUT", f"{WORKER}/domains/records"): "route.domains",
    ("PUT", f"{WORKER}/routes"): "route.domains",
    ("PUT", f"{ACCOUNT}/workers/domains"): "route.put",
    ("DELETE", f"{ACCOUNT}/workers/domains/{{hostname}}"): "route.delete",
    ("DELETE", f"{WORKER}/subdomain"): "script.subdomain",
    ("DELETE", f"{ACCOUNT}/workers/services/{{name}}"): "script.delete",
    ("PATCH", f"{ACCOUNT}/workers/workers/{{name}}/versions/latest"): "version.secrets",
    ("DELETE", SCRIPTS): "script.delete_tagged",
    ("POST", NAMESPACES): "namespace.create",
    ("PUT", f"{NAMESPACES}/{{namespace}}"): "namespace.rename",
    ("DELETE", f"{NAMESPACES}/{{namespace}}"): "namespace.delete",
    ("PUT", "/v1/tenants/{slug}"): "tenant.put",
    ("DELETE", "/v1/tenants/{slug}"): "tenant.delete",
    ("POST", "/v1/tenants/{slug}/tokens"): "token.create",
    ("POST", "/v1/tenants/{slug}/tokens/{token}/rotate"): "token.rotate",
    ("DELETE", "/v1/tenants/{slug}/tokens/{token}"): "token.revoke",
    ("POST", "/v1/tokens"): "token.create",
    ("POST", "/v1/tokens/{token}/rotate"): "token.rotate",
    ("DELETE", "/v1/tokens/{token}"): "token.revoke",
    ("POST", "/v1/scripts/{name}/schedules/run"): "schedule.run",
    ("PUT", "/v1/routes/{hostname}"): "route.put",
    ("DELETE", "/v1/routes/{hostname}"): "route.delete",
    ("POST", "/v1/routes/{hostname}/verify"): "route.verify",
    ("POST", "/v1/routes/bulk"): "route.bulk",
    ("POST", "/v1/keys/rotate"): "key.rotate",
}
ACTIONS: Final[dict[tuple[str, str], str]] = {
    **{
        (method, base + suffix): action
        for (method, suffix), action in _ON_SCRIPT.items()
        for base in (SCRIPT, WORKER)
    },
    **_OTHERS,
}


def action_of(method: str, path: str) -> str:
    """The name of a change: ``script.deploy``; method and path where it has none."""
    return ACTIONS.get((method, path), f"{method.lower()} {path}")
