"""Every dispatch-namespace call of PyPI's ``cloudflare``, in order; prints what each gave, as JSON.

``python namespace.py SCRIPT [account|delete]``; the base URL, the token and the address that
tenants are asked at (``TENANTS``) come from the environment. ``account``: the calls for Workers of
the account instead, their versions and deployments, and the removal of scripts by their tag.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any
from urllib.request import Request, urlopen

import cloudflare

SCRIPT = sys.argv[1]
NEW = not cloudflare.__version__.startswith("4.")
ENTRY = """
from workers import Response, WorkerEntrypoint
from lib.words import WORD

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response.json({"word": WORD, "greeting": self.env.GREETING})
"""
client = cloudflare.Cloudflare(
    api_token=os.environ["CLOUDFLARE_API_TOKEN"],
    base_url=os.environ["CLOUDFLARE_API_BASE_URL"],
    max_retries=0,
)
namespaces = client.workers_for_platforms.dispatch.namespaces
scripts = namespaces.scripts
tails = client.workers.scripts.tail
where = {"account_id": "platform", "dispatch_namespace": "production"}
stage = f"stage-py{cloudflare.__version__[0]}"


def bundle(word: str, entry: str = ENTRY) -> Any:
    modules = {"entry.py": entry, "lib/words.py": f'WORD = "{word}"'}
    parts = {name: (name, text.encode(), "text/x-python") for name, text in modules.items()}
    return list(parts.values()) if NEW else parts


METADATA = {
    "main_module": "entry.py",
    "compatibility_date": "2026-01-01",
    "compatibility_flags": ["python_workers"],
    "tags": ["customer-1", "pro"],
    "bindings": [
        {"type": "plain_text", "name": "GREETING", "text": "hello"},
        {"type": "secret_text", "name": "SECRET", "text": "hush"},
    ],
}
EDITED = {"bindings": [{"type": "plain_text", "name": "GREETING", "text": "edited"}]}
MAIN = {"main_module": "entry.py"}

STEPS: dict[str, Any] = {
    "update": lambda: scripts.update(SCRIPT, **where, metadata=METADATA, files=bundle("one")),
    "get": lambda: scripts.get(SCRIPT, **where),
    "content": lambda: scripts.content.get(SCRIPT, **where).read().decode(),
    "settings": lambda: scripts.settings.get(SCRIPT, **where),
    "bindings": lambda: list(scripts.bindings.get(SCRIPT, **where)),
    "secret_update": lambda: scripts.secrets.update(
        SCRIPT, **where, name="KEY", text="value", type="secret_text"
    ),
    "secret_list": lambda: list(scripts.secrets.list(SCRIPT, **where)),
    "secret_get": lambda: scripts.secrets.get("KEY", script_name=SCRIPT, **where),
    "secret_delete": lambda: scripts.secrets.delete("KEY", script_name=SCRIPT, **where),
    "secret_list_after": lambda: list(scripts.secrets.list(SCRIPT, **where)),
    "tags_update": lambda: list(scripts.tags.update(SCRIPT, **where, body=["p", "q"])),
    "tags_delete": lambda: scripts.tags.delete("p", script_name=SCRIPT, **where),
    "tags_list": lambda: list(scripts.tags.list(SCRIPT, **where)),
    "settings_edit": lambda: scripts.settings.edit(SCRIPT, **where, settings=EDITED),
    "tail_create": lambda: tails.create(
        SCRIPT, account_id="platform", **({} if NEW else {"body": {}})
    ),
    "tail_get": lambda: tails.get(SCRIPT, account_id="platform"),
    "tail_delete": lambda: tails.delete(
        results["tail_create"]["id"], account_id="platform", script_name=SCRIPT
    ),
    "namespace_create": lambda: namespaces.create(account_id="platform", name=stage),
    "namespace_list": lambda: list(namespaces.list(account_id="platform")),
    "namespace_get": lambda: namespaces.get(stage, account_id="platform"),
    "namespace_delete": lambda: namespaces.delete(stage, account_id="platform"),
    "namespace_missing": lambda: namespaces.get(stage, account_id="platform"),
    "broken": lambda: scripts.update(
        SCRIPT, **where, metadata=MAIN, files=bundle("x", entry="def f(:")
    ),
}
if NEW:  # 4.3 has no way to send files here
    STEPS["content_update"] = lambda: scripts.content.update(
        SCRIPT, **where, metadata=MAIN, files=bundle("two")
    )
workers, account = client.workers.scripts, {"account_id": "platform"}
ALL = "/accounts/platform/workers/dispatch/namespaces/production/scripts"

# 4.3 insists on both
DOMAIN: Any = {} if NEW else {"environment": "production", "zone_id": "z"}


def asked(script: str = SCRIPT) -> str:
    """The word that a script answers with."""
    address = f"{os.environ['TENANTS']}/"
    request = Request(address, headers={"Host": f"{script}.localhost"})  # noqa: S310
    with urlopen(request) as answer:  # noqa: S310
        return str(json.load(answer)["word"])


def stored(word: str) -> Any:
    """A version that does not serve yet. 5.9 cannot parse what it describes itself."""
    given = {**account, "metadata": METADATA, "files": bundle(word)}
    return workers.versions.with_raw_response.create(SCRIPT, **given).http_response.json()


def deploy(version: str) -> Any:
    """Make a version serve."""
    versions = [{"version_id": version, "percentage": 100}]
    return workers.deployments.create(SCRIPT, **account, strategy="percentage", versions=versions)


def tagged(script: str, tag: str) -> Any:
    """A script with a tag."""
    metadata = {**METADATA, "tags": [tag]}
    return scripts.update(script, **where, metadata=metadata, files=bundle("one"))


if "account" in sys.argv:
    STEPS = {
        "update": lambda: workers.update(SCRIPT, **account, metadata=METADATA, files=bundle("one")),
        "one": asked,
        "list": lambda: [item.id for item in workers.list(**account)],
        "schedules": lambda: workers.schedules.update(
            SCRIPT, **account, body=[{"cron": "*/5 * * * *"}]
        ),
        "subdomain": lambda: workers.subdomain.get(SCRIPT, **account),
        "domain": lambda: client.workers.domains.update(
            **account, **DOMAIN, hostname=f"{SCRIPT}.example", service=SCRIPT
        ),
        "domains": lambda: [item.hostname for item in client.workers.domains.list(**account)],
        "domain_delete": lambda: client.workers.domains.delete(f"{SCRIPT}.example", **account),
        "version_create": lambda: stored("two")["result"],
        "still_one": asked,
        "version_list": lambda: list(workers.versions.list(SCRIPT, **account)),
        "deployment_create": lambda: deploy(results["version_create"]["id"]),
        "two": asked,
        "rollback": lambda: deploy(results["version_list"][-1]["id"]),
        "one_again": asked,
        "tagged": lambda: [tagged(f"{SCRIPT}-{number}", SCRIPT).id for number in (1, 2)],
        "first": lambda: asked(f"{SCRIPT}-1"),
        "bulk_delete": lambda: client.delete(
            ALL, cast_to=object, options={"params": {"tags": f"{SCRIPT}:yes"}}
        ),
        "left": lambda: [item.id for item in workers.list(**account) if SCRIPT in item.id],
        "delete": lambda: workers.delete(SCRIPT, **account, force=True),
    }
    if not NEW:  # it has no way to send files with a version: one more deploy makes the second
        STEPS["version_create"] = lambda: workers.update(
            SCRIPT, **account, metadata=METADATA, files=bundle("two")
        )
        STEPS["still_one"] = STEPS["deployment_create"] = lambda: "one"
if "delete" in sys.argv:
    STEPS = {
        "delete": lambda: scripts.delete(SCRIPT, **where),
        "missing": lambda: scripts.get(SCRIPT, **where),
    }


def plain(value: Any) -> Any:
    """What a step gave, as JSON can hold it."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


results: dict[str, Any] = {}
for step, run in STEPS.items():
    try:
        results[step] = plain(run())
    except Exception as error:
        results[step] = {
            "error": type(error).__name__,
            "status": getattr(error, "status_code", None),
            "message": str(error),
        }
sys.stdout.write(json.dumps(results))
